#include "gguf/writer.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/try.hpp"
#include "gguf/wire.hpp"

namespace inlay::gguf {
namespace {

constexpr std::uint32_t kWrittenVersion = 3;

void append(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

template <class T>
void append_number(std::vector<std::byte>& out, T value) {
  append(out, std::as_bytes(std::span(&value, 1)));
}

void append_string(std::vector<std::byte>& out, std::string_view text) {
  append_number<Length>(out, text.size());
  append(out, std::as_bytes(std::span(text)));
}

std::size_t padding(std::uint64_t size, std::uint64_t alignment) {
  return static_cast<std::size_t>((alignment - size % alignment) % alignment);
}

/// An array's bytes: element type, length, elements.
std::vector<std::byte> encode_array(ValueType element_type, std::uint64_t count, std::span<const std::byte> elements) {
  std::vector<std::byte> encoded;
  append_number(encoded, static_cast<std::uint32_t>(element_type));
  append_number<Length>(encoded, count);
  append(encoded, elements);
  return encoded;
}

}  // namespace

Writer::Writer() : alignment_(kDefaultAlignment) {}

void Writer::add_raw(std::string_view key, ValueType type, std::span<const std::byte> encoded) {
  append_string(metadata_, key);
  append_number(metadata_, static_cast<std::uint32_t>(type));
  append(metadata_, encoded);
  ++n_metadata_;
  if (key != kAlignmentKey || type != ValueType::kUint32 || encoded.size() != sizeof(std::uint32_t)) return;
  const auto alignment = load<std::uint32_t>(encoded.data());
  if (std::has_single_bit(alignment) && alignment <= kMaxAlignment) alignment_ = alignment;
}

void Writer::add_uint32(std::string_view key, std::uint32_t value) {
  add_raw(key, ValueType::kUint32, std::as_bytes(std::span(&value, 1)));
}
void Writer::add_int32(std::string_view key, std::int32_t value) {
  add_raw(key, ValueType::kInt32, std::as_bytes(std::span(&value, 1)));
}
void Writer::add_uint64(std::string_view key, std::uint64_t value) {
  add_raw(key, ValueType::kUint64, std::as_bytes(std::span(&value, 1)));
}
void Writer::add_float32(std::string_view key, float value) {
  add_raw(key, ValueType::kFloat32, std::as_bytes(std::span(&value, 1)));
}
void Writer::add_bool(std::string_view key, bool value) {
  const std::byte encoded{static_cast<unsigned char>(value ? 1 : 0)};
  add_raw(key, ValueType::kBool, std::span(&encoded, 1));
}

void Writer::add_string(std::string_view key, std::string_view value) {
  std::vector<std::byte> encoded;
  append_string(encoded, value);
  add_raw(key, ValueType::kString, encoded);
}

void Writer::add_strings(std::string_view key, std::span<const std::string> values) {
  std::vector<std::byte> elements;
  for (const std::string& value : values) append_string(elements, value);
  add_raw(key, ValueType::kArray, encode_array(ValueType::kString, values.size(), elements));
}

void Writer::add_float32s(std::string_view key, std::span<const float> values) {
  add_raw(key, ValueType::kArray, encode_array(ValueType::kFloat32, values.size(), std::as_bytes(values)));
}

void Writer::add_int32s(std::string_view key, std::span<const std::int32_t> values) {
  add_raw(key, ValueType::kArray, encode_array(ValueType::kInt32, values.size(), std::as_bytes(values)));
}

void Writer::add(std::string_view key, const Value& value) {
  if (value.type != ValueType::kArray) return add_raw(key, value.type, value.bytes);
  add_raw(key, ValueType::kArray, encode_array(value.element_type, value.count, value.bytes));
}

void Writer::add_tensor(std::string_view name, Format format, std::initializer_list<std::uint64_t> dims,
                        std::span<const std::byte> data) {
  add_tensor(name, format, std::span(dims.begin(), dims.size()), std::vector<std::byte>(data.begin(), data.end()));
}

void Writer::add_tensor(std::string_view name, Format format, std::span<const std::uint64_t> dims,
                        std::vector<std::byte> data) {
  const std::uint64_t bytes = data.size();
  tensors_.push_back(
      {std::string(name), format, std::vector<std::uint64_t>(dims.begin(), dims.end()), bytes, std::move(data)});
}

void Writer::declare_tensor(std::string_view name, Format format, std::span<const std::uint64_t> dims) {
  std::uint64_t weights = 1;
  for (const std::uint64_t dim : dims) weights *= dim;
  tensors_.push_back({std::string(name),
                      format,
                      std::vector<std::uint64_t>(dims.begin(), dims.end()),
                      row_bytes(format, static_cast<std::size_t>(weights)),
                      {}});
}

std::vector<std::byte> Writer::header() const {
  std::vector<std::byte> out;
  append(out, std::as_bytes(std::span("GGUF", 4)));
  append_number(out, kWrittenVersion);
  append_number<std::uint64_t>(out, tensors_.size());
  append_number(out, n_metadata_);
  append(out, metadata_);
  std::uint64_t offset = 0;
  for (const PendingTensor& tensor : tensors_) {
    append_string(out, tensor.name);
    append_number(out, static_cast<std::uint32_t>(tensor.dims.size()));
    append(out, std::as_bytes(std::span(tensor.dims)));
    append_number(out, static_cast<std::uint32_t>(tensor.format));
    append_number(out, offset);
    offset += tensor.bytes + padding(tensor.bytes, alignment_);
  }
  if (!tensors_.empty()) out.resize(out.size() + padding(out.size(), alignment_));
  return out;
}

std::vector<std::byte> Writer::finish() const {
  std::vector<std::byte> out = header();
  for (const PendingTensor& tensor : tensors_) {
    append(out, tensor.data);
    out.resize(out.size() + padding(tensor.data.size(), alignment_));
  }
  return out;
}

Result<void> Writer::write(const std::string& path) const {
  INLAY_TRY_ASSIGN(TensorStream stream, begin(path));
  for (const PendingTensor& tensor : tensors_) INLAY_TRY(stream.write(tensor.data));
  return stream.finish();
}

Result<TensorStream> Writer::begin(const std::string& path) const {
  INLAY_TRY_ASSIGN(PartFile file, PartFile::create(path));
  INLAY_TRY(file.write(header()));
  std::vector<std::uint64_t> sizes;
  sizes.reserve(tensors_.size());
  for (const PendingTensor& tensor : tensors_) sizes.push_back(tensor.bytes);
  return TensorStream(std::move(file), std::move(sizes), alignment_);
}

TensorStream::TensorStream(PartFile file, std::vector<std::uint64_t> sizes, std::uint64_t alignment)
    : file_(std::move(file)), sizes_(std::move(sizes)), zeros_(static_cast<std::size_t>(alignment)) {}

Result<void> TensorStream::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    INLAY_TRY(skip_complete());
    if (next_ == sizes_.size()) return Status(StatusCode::kInternal, "more tensor data than declared");
    const auto share = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), sizes_[next_] - written_));
    INLAY_TRY(file_.write(bytes.first(share)));
    written_ += share;
    bytes = bytes.subspan(share);
  }
  return skip_complete();
}

Result<void> TensorStream::skip_complete() {
  while (next_ < sizes_.size() && written_ == sizes_[next_]) {
    INLAY_TRY(file_.write(std::span(zeros_).first(padding(written_, zeros_.size()))));
    written_ = 0;
    ++next_;
  }
  return {};
}

Result<void> TensorStream::finish() {
  INLAY_TRY(skip_complete());
  if (next_ < sizes_.size()) return Status(StatusCode::kInternal, "less tensor data than declared");
  return file_.rename();
}

}  // namespace inlay::gguf
