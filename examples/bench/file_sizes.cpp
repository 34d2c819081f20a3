#include "file_sizes.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <type_traits>
#include <vector>

namespace inlay_bench {
namespace {

// Value types of the file format's metadata.
constexpr std::uint32_t kString = 8;
constexpr std::uint32_t kArray = 9;
constexpr std::array<std::uint64_t, 13> kValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kMostNameBytes = 65535;

struct Tensor {
  std::string name;
  std::uint64_t elements = 1;
  std::uint32_t n_dimensions = 0;
  std::uint64_t offset = 0;  // in the file's data section
};

/// The stream fails for good at the first read past the end; whoever reads in a loop asks ok().
class Header {
 public:
  explicit Header(const std::string& path) : file_(path, std::ios::binary) {}

  [[nodiscard]] bool ok() const { return file_.good(); }
  void fail() { file_.setstate(std::ios::failbit); }
  [[nodiscard]] std::uint64_t position() { return static_cast<std::uint64_t>(file_.tellg()); }

  template <class T>
  T read() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    file_.read(reinterpret_cast<char*>(&value), sizeof value);
    return ok() ? value : T{};
  }
  std::string read_string() {
    const auto size = read<std::uint64_t>();
    if (size > kMostNameBytes) fail();
    std::string text(ok() ? size : 0, '\0');
    file_.read(text.data(), static_cast<std::streamsize>(text.size()));
    return text;
  }
  void skip(std::uint64_t bytes) {
    if (bytes >= std::uint64_t{1} << 40) fail();
    file_.ignore(static_cast<std::streamsize>(bytes));
  }
  void skip_value(std::uint32_t type) {
    if (type == kString) return skip(read<std::uint64_t>());
    if (type == kArray) return skip_array();
    if (type >= kValueBytes.size()) return fail();
    skip(kValueBytes[type]);
  }

 private:
  void skip_array() {
    const auto type = read<std::uint32_t>();
    const auto count = read<std::uint64_t>();
    if (type == kArray) return fail();  // no known file nests them
    for (std::uint64_t i = 0; i < count && ok(); ++i) skip_value(type);
  }

  std::ifstream file_;
};

/// Skips the metadata and returns the alignment of the data section.
std::uint64_t read_metadata(Header& header, std::uint64_t count) {
  std::uint64_t alignment = kDefaultAlignment;
  for (std::uint64_t i = 0; i < count && header.ok(); ++i) {
    const std::string key = header.read_string();
    const auto type = header.read<std::uint32_t>();
    if (key == "general.alignment") {
      alignment = std::max<std::uint64_t>(header.read<std::uint32_t>(), 1);
    } else {
      header.skip_value(type);
    }
  }
  return alignment;
}

Tensor read_tensor(Header& header) {
  Tensor tensor;
  tensor.name = header.read_string();
  tensor.n_dimensions = header.read<std::uint32_t>();
  for (std::uint32_t i = 0; i < tensor.n_dimensions && header.ok(); ++i)
    tensor.elements *= header.read<std::uint64_t>();
  header.read<std::uint32_t>();  // format: the distance to the next tensor says how long it is
  tensor.offset = header.read<std::uint64_t>();
  return tensor;
}

/// `tensors` in the order of their offsets. Each one's bytes reach to the next one, padding included.
FileSizes add_up(const std::vector<Tensor>& tensors, std::uint64_t data_bytes) {
  const auto has_head = [](const Tensor& tensor) { return tensor.name == "output.weight"; };
  const bool own_head = std::any_of(tensors.begin(), tensors.end(), has_head);
  FileSizes sizes;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& tensor = tensors[i];
    const std::uint64_t end = i + 1 < tensors.size() ? tensors[i + 1].offset : data_bytes;
    const bool embedding = tensor.name == "token_embd.weight";
    const bool head = own_head ? has_head(tensor) : embedding;
    if (!embedding || head) sizes.token_bytes += end - tensor.offset;
    if (head) sizes.head_parameters += tensor.elements;
    if (!embedding && !head && tensor.n_dimensions == 2) sizes.layer_parameters += tensor.elements;
  }
  return sizes;
}

}  // namespace

inlay::Result<FileSizes> read_file_sizes(const std::string& path) {
  std::error_code error;
  const std::uint64_t file_bytes = std::filesystem::file_size(path, error);
  Header header(path);
  if (error || !header.ok()) {
    return inlay::Status(inlay::StatusCode::kIoError, "file \"" + path + "\": cannot be read");
  }
  header.skip(8);  // magic and version
  const auto n_tensors = header.read<std::uint64_t>();
  const auto n_keys = header.read<std::uint64_t>();
  const std::uint64_t alignment = read_metadata(header, n_keys);
  std::vector<Tensor> tensors;
  for (std::uint64_t i = 0; i < n_tensors && header.ok(); ++i) tensors.push_back(read_tensor(header));
  const std::uint64_t data_start = header.ok() ? (header.position() + alignment - 1) / alignment * alignment : 0;
  std::sort(tensors.begin(), tensors.end(), [](const Tensor& a, const Tensor& b) { return a.offset < b.offset; });
  if (!header.ok() || tensors.empty() || file_bytes - data_start < tensors.back().offset) {
    return inlay::Status(inlay::StatusCode::kInvalidModel, "file \"" + path + "\": its header cannot be read");
  }
  return add_up(tensors, file_bytes - data_start);
}

}  // namespace inlay_bench
