#include "runtime/model_bytes.hpp"

#include <algorithm>
#include <utility>

#include "base/try.hpp"

namespace inlay {
namespace {

constexpr std::uint64_t kReadBytes = std::uint64_t{8} << 20U;  // asked for at a time

}  // namespace

Result<ModelBytes> ModelBytes::open(const ModelSource& source, const HostAllocator* allocator) {
  if (const auto* path = std::get_if<std::string>(&source)) return open_path(*path);
  if (const auto* bytes = std::get_if<std::span<const std::byte>>(&source)) return open_memory(*bytes);
  const auto& reader = *std::get_if<FileReader>(&source);
  return read(reader, reader.size, allocator);
}

Result<ModelBytes> ModelBytes::open_front(const ModelSource& source, std::uint64_t n) {
  if (const auto* reader = std::get_if<FileReader>(&source)) return read(*reader, std::min(n, reader->size), nullptr);
  return open(source, nullptr);
}

Result<ModelBytes> ModelBytes::open_path(const std::string& path) {
  ModelBytes opened;
  INLAY_TRY_ASSIGN(opened.mapped_, MappedFile::open(path));
  opened.bytes_ = opened.mapped_.bytes();
  opened.n_read_ = opened.bytes_.size();
  opened.may_release_ = true;
  opened.name_ = "file \"" + path + "\"";
  return opened;
}

Result<ModelBytes> ModelBytes::open_memory(std::span<const std::byte> bytes) {
  ModelBytes opened;
  opened.name_ = "model in memory";
  if (bytes.empty()) return Status(StatusCode::kInvalidModel, opened.name_ + ": is empty");
  opened.bytes_ = bytes;
  opened.n_read_ = bytes.size();
  return opened;
}

Result<ModelBytes> ModelBytes::read(const FileReader& reader, std::uint64_t n, const HostAllocator* allocator) {
  ModelBytes opened;
  opened.name_ = "model from a reader";
  if (!reader.read) return Status(StatusCode::kInvalidArgument, opened.name_ + ": there is no function `read`");
  if (reader.size == 0) return Status(StatusCode::kInvalidModel, opened.name_ + ": is empty");
  INLAY_TRY_ASSIGN(opened.memory_,
                   PageMemory::take(reader.size, opened.name_, PageMemory::PageSize::kSystem, allocator));
  for (std::uint64_t at = 0; at < n; at += kReadBytes) {
    const auto size = static_cast<std::size_t>(std::min(kReadBytes, n - at));
    if (reader.read(at, {opened.memory_.data() + at, size}) == Flow::kStop) {
      return Status(StatusCode::kIoError, opened.name_ + ": " + std::to_string(size) + " bytes from byte " +
                                              std::to_string(at) + " on cannot be read");
    }
  }
  opened.bytes_ = {opened.memory_.data(), opened.memory_.size()};
  opened.n_read_ = n;
  opened.may_release_ = !opened.memory_.is_hosts();
  return opened;
}

}  // namespace inlay
