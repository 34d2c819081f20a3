// Parses a GGUF header. The file is hostile: every number from it is checked before it is used.
//
// | "GGUF" | version: u32 | n_tensors: u64 | n_metadata: u64 | metadata | tensor infos | padding | tensor data |
// Metadata entry: key string, type u32, value. Tensor info: name string, n_dims u32, dims u64 each, type u32, offset
// u64 into the tensor data. A string is its length (u64) and its bytes; an array its element type (u32), its length
// (u64) and its elements.
#include <algorithm>
#include <bit>
#include <numeric>

#include "base/checked_math.hpp"
#include "base/try.hpp"
#include "gguf/gguf.hpp"
#include "gguf/wire.hpp"

namespace inlay::gguf {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;   // "GGUF"
constexpr std::uint64_t kMaxKeyBytes = 65535;  // from the specification, as is the next
constexpr std::uint64_t kMaxTensorNameBytes = 64;
constexpr std::uint64_t kMaxEntries =
    1U << 20U;  // models have some dozens of keys and at most some thousands of tensors
constexpr std::uint64_t kMinMetadataBytes = sizeof(Length) + 1 + sizeof(std::uint32_t) + 1;
constexpr std::uint64_t kMinTensorBytes =
    sizeof(Length) + 1 + sizeof(std::uint32_t) + sizeof(std::uint64_t) + sizeof(std::uint32_t) + sizeof(std::uint64_t);

Status invalid(std::string message) { return {StatusCode::kInvalidModel, std::move(message)}; }
Status unsupported(std::string message) { return {StatusCode::kUnsupported, std::move(message)}; }

std::string expected_found(const std::string& expected, const std::string& found) {
  return ": expected " + expected + ", found " + found;
}
std::string expected_found(const std::string& expected, std::uint64_t found) {
  return expected_found(expected, std::to_string(found));
}

/// What a message is about. Its text is made when there is a message: a valid file costs none.
struct Place {
  const char* kind;
  std::string_view name = {};  // empty: the entry is known by its number only
  std::uint64_t index = 0;
  std::uint64_t count = 0;
};

std::string operator+(const Place& place, std::string_view rest) {
  std::string text = std::string(place.kind) + " ";
  text += place.name.empty() ? std::to_string(place.index) + " of " + std::to_string(place.count) : quoted(place.name);
  return text.append(rest);
}

/// Reads forward through the bytes; a read beyond the end gives nothing.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  [[nodiscard]] std::size_t remaining() const noexcept { return bytes_.size() - position_; }

  std::optional<std::span<const std::byte>> take(std::uint64_t size) noexcept {
    if (size > remaining()) return std::nullopt;
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(size));
    position_ += taken.size();
    return taken;
  }

  template <class T>
  std::optional<T> number() noexcept {
    const auto bytes = take(sizeof(T));
    if (!bytes) return std::nullopt;
    return load<T>(bytes->data());
  }

  /// A length of at most `max_length` and as many bytes.
  std::optional<std::string_view> string(std::uint64_t max_length) noexcept {
    const auto length = number<Length>();
    if (!length || *length > max_length) return std::nullopt;
    const auto bytes = take(*length);
    if (!bytes) return std::nullopt;
    return std::string_view(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

std::string supported_formats() {
  std::string names;
  for_each_format([&names](auto traits) {
    if (!names.empty()) names += ", ";
    names += decltype(traits)::name;
  });
  return names;
}

std::string shape_text(const Tensor& tensor) {
  std::string text = "[";
  for (int i = 0; i < tensor.n_dims; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(tensor.dims[static_cast<std::size_t>(i)]);
  }
  return text + "]";
}

/// Bytes of a tensor's data, when the row is a whole number of blocks and nothing wraps around.
std::optional<std::uint64_t> tensor_bytes(const Tensor& tensor, const FormatInfo& info) {
  std::optional<std::uint64_t> blocks = tensor.dims[0] / static_cast<std::uint64_t>(info.block_weights);
  for (std::size_t i = 1; i < tensor.dims.size() && blocks; ++i) blocks = checked_multiply(*blocks, tensor.dims[i]);
  if (!blocks) return std::nullopt;
  return checked_multiply(*blocks, static_cast<std::uint64_t>(info.block_bytes));
}

/// Positions of `entries` sorted by name, and the first name that stands there twice, if any.
template <class Entries, class NameOf>
std::optional<std::string_view> sort_by_name(const Entries& entries, std::vector<std::uint32_t>& order,
                                             const NameOf& name_of) {
  order.resize(entries.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto name_at = [&](std::uint32_t position) { return name_of(entries[position]); };
  std::sort(order.begin(), order.end(),
            [&](std::uint32_t left, std::uint32_t right) { return name_at(left) < name_at(right); });
  const auto twin = std::adjacent_find(order.begin(), order.end(), [&](std::uint32_t left, std::uint32_t right) {
    return name_at(left) == name_at(right);
  });
  if (twin == order.end()) return std::nullopt;
  return name_at(*twin);
}

}  // namespace

class Parser {
 public:
  explicit Parser(std::span<const std::byte> bytes) : bytes_(bytes), cursor_(bytes) {}

  Result<File> run() {
    INLAY_TRY(read_counts());
    INLAY_TRY(read_metadata());
    INLAY_TRY(check_split());
    INLAY_TRY(read_alignment());
    INLAY_TRY(read_tensors());
    return std::move(file_);
  }

 private:
  /// Where a tensor says that its data are, relative to the start of the tensor data.
  struct Placement {
    std::uint64_t offset;
    std::uint64_t size;
  };

  Result<void> read_counts();
  Result<void> check_version(std::uint32_t version) const;
  Result<void> check_count(const char* what, std::uint64_t count, std::uint64_t min_bytes) const;

  Result<void> read_metadata();
  Result<std::string_view> read_name(const Place& where, std::uint64_t max_bytes);
  Result<Value> read_value(const Place& where);
  Result<Value> read_scalar(const Place& where, ValueType type);
  Result<Value> read_array(const Place& where);
  Result<Value> read_string_array(const Place& where, std::uint64_t count);
  Result<void> skip_string(const Place& where);

  Result<void> check_split() const;
  Result<void> read_alignment();

  Result<void> read_tensors();
  Result<void> read_tensor_infos();
  Result<Tensor> read_tensor_info(std::uint64_t index);
  Result<void> read_dims(const Place& where, Tensor& tensor);
  Result<void> check_size(const Place& where, const Tensor& tensor, std::uint64_t offset);
  Result<void> place_tensors();
  Result<void> check_overlaps() const;

  [[nodiscard]] Status ends_inside(const std::string& what) const {
    return invalid(what + ": the file ends inside it, after " + std::to_string(bytes_.size()) + " bytes");
  }
  [[nodiscard]] Status ends_inside(const Place& where) const { return ends_inside(where + ""); }
  [[nodiscard]] std::string bytes_left() const { return std::to_string(cursor_.remaining()) + " bytes left"; }

  std::span<const std::byte> bytes_;
  Cursor cursor_;
  File file_;
  std::uint64_t n_tensors_ = 0;
  std::uint64_t n_metadata_ = 0;
  std::vector<Placement> placements_;  // of file_.tensors_
};

Result<void> Parser::check_version(std::uint32_t version) const {
  if (version == 2 || version == 3) return {};
  const bool swapped = version != 0 && (version & 0xFFFFU) == 0;
  if (swapped) return unsupported("GGUF byte order: expected little-endian, found big-endian");
  return unsupported("GGUF version" + expected_found("2 or 3", version));
}

/// No count may promise more entries than the bytes could hold: what is reserved stays in proportion to the file.
Result<void> Parser::check_count(const char* what, std::uint64_t count, std::uint64_t min_bytes) const {
  const std::uint64_t most = std::min<std::uint64_t>(cursor_.remaining() / min_bytes, kMaxEntries);
  if (count <= most) return {};
  return invalid(std::string("number of ") + what +
                 expected_found("at most " + std::to_string(most) + " with " + bytes_left(), count));
}

Result<void> Parser::read_counts() {
  const auto magic = cursor_.number<std::uint32_t>();
  if (!magic) return ends_inside("GGUF magic");
  if (*magic != kMagic) {
    const std::string_view found(reinterpret_cast<const char*>(bytes_.data()), sizeof(kMagic));
    return invalid("magic" + expected_found("\"GGUF\"", quoted(found)));
  }
  const auto version = cursor_.number<std::uint32_t>();
  if (!version) return ends_inside("GGUF version");
  INLAY_TRY(check_version(*version));
  file_.version_ = *version;

  const auto n_tensors = cursor_.number<std::uint64_t>();
  const auto n_metadata = cursor_.number<std::uint64_t>();
  if (!n_tensors || !n_metadata) return ends_inside("GGUF counts");
  n_tensors_ = *n_tensors;
  n_metadata_ = *n_metadata;
  return check_count("metadata keys", n_metadata_, kMinMetadataBytes);
}

Result<std::string_view> Parser::read_name(const Place& where, std::uint64_t max_bytes) {
  const Cursor start = cursor_;
  if (const auto name = cursor_.string(max_bytes)) {
    if (name->empty()) return invalid(where + ": its name is empty");
    return *name;
  }
  cursor_ = start;
  const auto length = cursor_.number<Length>();
  if (!length) return ends_inside(where);
  return invalid(where + ": name length" +
                 expected_found("at most " + std::to_string(max_bytes) + " with " + bytes_left(), *length));
}

Result<void> Parser::read_metadata() {
  file_.metadata_.reserve(static_cast<std::size_t>(n_metadata_));
  for (std::uint64_t i = 0; i < n_metadata_; ++i) {
    const Place entry = {"metadata entry", {}, i, n_metadata_};
    INLAY_TRY_ASSIGN(const std::string_view key, read_name(entry, kMaxKeyBytes));
    INLAY_TRY_ASSIGN(const Value value, read_value({"metadata key", key}));
    file_.metadata_.emplace_back(key, value);
  }
  const auto twin =
      sort_by_name(file_.metadata_, file_.metadata_order_, [](const auto& candidate) { return candidate.first; });
  if (twin) return invalid("metadata key " + quoted(*twin) + ": stands in the file twice");
  return {};
}

Result<Value> Parser::read_value(const Place& where) {
  const auto number = cursor_.number<std::uint32_t>();
  if (!number) return ends_inside(where);
  const auto type = static_cast<ValueType>(*number);
  if (type == ValueType::kArray) return read_array(where);
  if (type == ValueType::kString) {
    const std::size_t begin = cursor_.position();
    INLAY_TRY(skip_string(where));
    return Value{type, type, 1, bytes_.subspan(begin, cursor_.position() - begin)};
  }
  if (scalar_bytes(type) == 0) return invalid(where + ": value type" + expected_found("0 to 12", *number));
  return read_scalar(where, type);
}

namespace {

bool all_bools(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte <= std::byte{1}; });
}

}  // namespace

Result<Value> Parser::read_scalar(const Place& where, ValueType type) {
  const auto bytes = cursor_.take(scalar_bytes(type));
  if (!bytes) return ends_inside(where);
  if (type == ValueType::kBool && !all_bools(*bytes)) {
    return invalid(where + ": bool" + expected_found("0 or 1", load<std::uint8_t>(bytes->data())));
  }
  return Value{type, type, 1, *bytes};
}

Result<void> Parser::skip_string(const Place& where) {
  const auto length = cursor_.number<Length>();
  if (!length) return ends_inside(where);
  if (!cursor_.take(*length)) {
    return invalid(where + ": string length" + expected_found("at most the " + bytes_left(), *length));
  }
  return {};
}

Result<Value> Parser::read_array(const Place& where) {
  const auto number = cursor_.number<std::uint32_t>();
  const auto count = cursor_.number<Length>();
  if (!number || !count) return ends_inside(where);
  const auto element_type = static_cast<ValueType>(*number);
  if (element_type == ValueType::kArray) return unsupported(where + ": an array of arrays");
  if (element_type == ValueType::kString) return read_string_array(where, *count);
  const std::uint64_t element_bytes = scalar_bytes(element_type);
  if (element_bytes == 0) return invalid(where + ": array element type" + expected_found("0 to 12", *number));

  const auto size = checked_multiply(*count, element_bytes);
  const auto bytes = size ? cursor_.take(*size) : std::nullopt;
  if (!bytes) {
    const std::string most = std::to_string(cursor_.remaining() / element_bytes);
    return invalid(where + ": array length" + expected_found("at most " + most + " with " + bytes_left(), *count));
  }
  if (element_type == ValueType::kBool && !all_bools(*bytes)) {
    return invalid(where + ": array of bool" + expected_found("0 or 1", "another number"));
  }
  return Value{ValueType::kArray, element_type, *count, *bytes};
}

Result<Value> Parser::read_string_array(const Place& where, std::uint64_t count) {
  const std::uint64_t most = cursor_.remaining() / sizeof(Length);
  if (count > most) {
    return invalid(where + ": array length" +
                   expected_found("at most " + std::to_string(most) + " strings with " + bytes_left(), count));
  }
  const std::size_t begin = cursor_.position();
  for (std::uint64_t i = 0; i < count; ++i) INLAY_TRY(skip_string(where));
  return Value{ValueType::kArray, ValueType::kString, count, bytes_.subspan(begin, cursor_.position() - begin)};
}

Result<void> Parser::check_split() const {
  INLAY_TRY_ASSIGN(const auto parts, file_.find_integer("split.count"));
  if (!parts || *parts <= 1) return {};
  return unsupported("metadata key \"split.count\"" +
                     expected_found("one file", "one of " + std::to_string(*parts) + " parts (merge them first)"));
}

Result<void> Parser::read_alignment() {
  INLAY_TRY_ASSIGN(const auto alignment, file_.find_integer(kAlignmentKey));
  if (!alignment) return {};
  const auto value = static_cast<std::uint64_t>(*alignment);
  if (!std::has_single_bit(value) || value < 8 || value > kMaxAlignment) {
    return invalid(
        "metadata key " + quoted(kAlignmentKey) +
        expected_found("a power of two from 8 to " + std::to_string(kMaxAlignment), std::to_string(*alignment)));
  }
  file_.alignment_ = value;
  return {};
}

Result<void> Parser::read_tensors() {
  INLAY_TRY(read_tensor_infos());
  INLAY_TRY(place_tensors());
  return check_overlaps();
}

Result<void> Parser::read_tensor_infos() {
  INLAY_TRY(check_count("tensors", n_tensors_, kMinTensorBytes));
  file_.tensors_.reserve(static_cast<std::size_t>(n_tensors_));
  placements_.reserve(static_cast<std::size_t>(n_tensors_));
  for (std::uint64_t i = 0; i < n_tensors_; ++i) {
    INLAY_TRY_ASSIGN(const Tensor tensor, read_tensor_info(i));
    file_.tensors_.push_back(tensor);
  }
  const auto twin =
      sort_by_name(file_.tensors_, file_.tensor_order_, [](const Tensor& candidate) { return candidate.name; });
  if (twin) return invalid("tensor " + quoted(*twin) + ": stands in the file twice");
  return {};
}

Result<Tensor> Parser::read_tensor_info(std::uint64_t index) {
  Tensor tensor;
  const Place entry = {"tensor", {}, index, n_tensors_};
  INLAY_TRY_ASSIGN(tensor.name, read_name(entry, kMaxTensorNameBytes));
  const Place where = {"tensor", tensor.name};
  INLAY_TRY(read_dims(where, tensor));
  const auto type = cursor_.number<std::uint32_t>();
  const auto offset = cursor_.number<std::uint64_t>();
  if (!type || !offset) return ends_inside(where);
  tensor.format = static_cast<Format>(*type);
  if (format_info(tensor.format).name == nullptr) {
    return unsupported(where + expected_found("one of " + supported_formats(), "type " + std::to_string(*type)));
  }
  INLAY_TRY(check_size(where, tensor, *offset));
  return tensor;
}

Result<void> Parser::read_dims(const Place& where, Tensor& tensor) {
  const auto n_dims = cursor_.number<std::uint32_t>();
  if (!n_dims) return ends_inside(where);
  if (*n_dims < 1 || *n_dims > tensor.dims.size()) {
    return invalid(where + ": number of dimensions" + expected_found("1 to 4", *n_dims));
  }
  tensor.n_dims = static_cast<int>(*n_dims);
  for (std::uint32_t i = 0; i < *n_dims; ++i) {
    const auto dim = cursor_.number<std::uint64_t>();
    if (!dim) return ends_inside(where);
    if (*dim == 0) return invalid(where + ": dimension " + std::to_string(i) + expected_found("at least 1", *dim));
    tensor.dims[i] = *dim;
  }
  return {};
}

Result<void> Parser::check_size(const Place& where, const Tensor& tensor, std::uint64_t offset) {
  const FormatInfo info = format_info(tensor.format);
  const auto block_weights = static_cast<std::uint64_t>(info.block_weights);
  if (tensor.dims[0] % block_weights != 0) {
    return invalid(where + ": row length of " + info.name +
                   expected_found("a multiple of " + std::to_string(block_weights), tensor.dims[0]));
  }
  const auto size = tensor_bytes(tensor, info);
  if (!size || *size > bytes_.size()) {
    return invalid(where + ": size of " + info.name +
                   expected_found("at most the file's " + std::to_string(bytes_.size()) + " bytes",
                                  "shape " + shape_text(tensor)));
  }
  if (offset % file_.alignment_ != 0) {
    return invalid(where + ": offset" + expected_found("a multiple of " + std::to_string(file_.alignment_), offset));
  }
  placements_.push_back({offset, *size});
  return {};
}

Result<void> Parser::place_tensors() {
  file_.header_bytes_ = static_cast<std::size_t>(cursor_.position());
  if (file_.tensors_.empty()) return {};  // then the padding may be missing
  const auto data_begin = checked_align(cursor_.position(), file_.alignment_);
  if (!data_begin || *data_begin > bytes_.size()) return ends_inside("padding ahead of the tensor data");
  const auto data = bytes_.subspan(static_cast<std::size_t>(*data_begin));
  for (std::size_t i = 0; i < placements_.size(); ++i) {
    const Placement placement = placements_[i];
    if (placement.size > data.size() || placement.offset > data.size() - placement.size) {
      return invalid(
          "tensor " + quoted(file_.tensors_[i].name) + ": data" +
          expected_found("to end by byte " + std::to_string(data.size()) + " of the tensor data",
                         std::to_string(placement.size) + " bytes at offset " + std::to_string(placement.offset)));
    }
    file_.tensors_[i].data =
        data.subspan(static_cast<std::size_t>(placement.offset), static_cast<std::size_t>(placement.size));
  }
  return {};
}

/// Tensors that share bytes would let a small file claim any amount of memory from whoever copies its tensors.
Result<void> Parser::check_overlaps() const {
  std::vector<std::uint32_t> order(placements_.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](std::uint32_t left, std::uint32_t right) {
    return placements_[left].offset < placements_[right].offset;
  });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const Placement& before = placements_[order[i - 1]];
    if (before.offset + before.size <= placements_[order[i]].offset) continue;
    return invalid(
        "tensor " + quoted(file_.tensors_[order[i]].name) +
        expected_found("data of its own", "bytes shared with tensor " + quoted(file_.tensors_[order[i - 1]].name)));
  }
  return {};
}

Result<File> File::parse(std::span<const std::byte> bytes) { return Parser(bytes).run(); }

}  // namespace inlay::gguf
