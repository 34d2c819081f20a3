#include "gguf/part_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>  // rename
#include <system_error>
#include <utility>

namespace inlay::gguf {
namespace {

Status io_failure(const std::string& path, int error) {
  return {StatusCode::kIoError, "file \"" + path + "\": " + std::error_code(error, std::generic_category()).message()};
}

}  // namespace

Result<PartFile> PartFile::create(const std::string& path) {
  constexpr int kAttempts = 100;  // other writers of the same path may own the first names
  int error = EEXIST;
  PartFile file(path);
  for (int i = 0; i < kAttempts && error == EEXIST; ++i) {
    file.part_ = path + ".part" + std::to_string(i);
    file.descriptor_ = ::open(file.part_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file.descriptor_ >= 0) return file;  // nothing from here on fails and leaves the file behind
    error = errno;
  }
  return io_failure(path, error);
}

PartFile::PartFile(std::string path) noexcept : path_(std::move(path)) {}

PartFile::PartFile(PartFile&& other) noexcept
    : path_(std::move(other.path_)),
      part_(std::move(other.part_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      renamed_(other.renamed_) {}

PartFile::~PartFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (!renamed_) ::unlink(part_.c_str());
}

Result<void> PartFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_failure(path_, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> PartFile::rename() {
  if (::fsync(descriptor_) != 0 && errno != EINVAL) return io_failure(path_, errno);
  if (::rename(part_.c_str(), path_.c_str()) != 0) return io_failure(path_, errno);
  renamed_ = true;
  return {};
}

}  // namespace inlay::gguf
