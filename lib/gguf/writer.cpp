#include "gguf/writer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdio>  // rename
#include <system_error>

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

std::size_t padding(std::size_t size, std::uint64_t alignment) {
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

Status io_failure(const std::string& path, int error) {
  return {StatusCode::kIoError, "file \"" + path + "\": " + std::error_code(error, std::generic_category()).message()};
}

/// A file under construction beside its destination: removed unless it is renamed.
class PartFile {
 public:
  explicit PartFile(const std::string& path) : path_(path) {
    constexpr int kAttempts = 100;  // other writers of the same path may own the first names
    for (int i = 0; i < kAttempts && descriptor_ < 0; ++i) {
      part_ = path + ".part" + std::to_string(i);
      descriptor_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      error_ = errno;
      if (descriptor_ < 0 && error_ != EEXIST) break;
    }
  }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;
  ~PartFile() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    if (!renamed_) ::unlink(part_.c_str());
  }

  [[nodiscard]] Result<void> opened() const {
    if (descriptor_ < 0) return io_failure(path_, error_);
    return {};
  }

  Result<void> write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return io_failure(path_, errno);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return {};
  }

  Result<void> rename() {
    if (::fsync(descriptor_) != 0 && errno != EINVAL) return io_failure(path_, errno);
    if (::rename(part_.c_str(), path_.c_str()) != 0) return io_failure(path_, errno);
    renamed_ = true;
    return {};
  }

 private:
  std::string path_;
  std::string part_;
  int descriptor_ = -1;
  int error_ = 0;
  bool renamed_ = false;
};

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
  tensors_.push_back(
      {std::string(name), format, std::vector<std::uint64_t>(dims.begin(), dims.end()), std::move(data)});
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
    offset += tensor.data.size() + padding(tensor.data.size(), alignment_);
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
  PartFile file(path);
  INLAY_TRY(file.opened());
  INLAY_TRY(file.write(header()));
  const std::vector<std::byte> zeros(static_cast<std::size_t>(alignment_));
  for (const PendingTensor& tensor : tensors_) {
    INLAY_TRY(file.write(tensor.data));
    INLAY_TRY(file.write(std::span(zeros).first(padding(tensor.data.size(), alignment_))));
  }
  return file.rename();
}

}  // namespace inlay::gguf
