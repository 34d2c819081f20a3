#include "base/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

namespace inlay {
namespace {

Status failure(StatusCode code, const std::string& path, const std::string& reason) {
  return {code, "file \"" + path + "\": " + reason};
}

std::string errno_text(int error) { return std::error_code(error, std::generic_category()).message(); }

/// Closes the descriptor when it goes out of scope: a map does not need it any more.
struct Descriptor {
  int value = -1;
  explicit Descriptor(int descriptor) noexcept : value(descriptor) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  if (path.find('\0') != std::string::npos) {
    return failure(StatusCode::kInvalidArgument, path.c_str(), "the path holds a zero byte");
  }
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a FIFO must not block the host
  if (file.value < 0) {
    const int error = errno;
    return failure(error == ENOENT || error == ENOTDIR ? StatusCode::kNotFound : StatusCode::kIoError, path,
                   errno_text(error));
  }
  struct stat info = {};
  if (::fstat(file.value, &info) != 0) return failure(StatusCode::kIoError, path, errno_text(errno));
  if (!S_ISREG(info.st_mode)) {
    return failure(StatusCode::kIoError, path, S_ISDIR(info.st_mode) ? "is a directory" : "is not a regular file");
  }
  if (info.st_size == 0) return failure(StatusCode::kInvalidModel, path, "is empty");
  const auto size = static_cast<std::size_t>(info.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
  if (data == MAP_FAILED) return failure(StatusCode::kIoError, path, errno_text(errno));
  return MappedFile(static_cast<const std::byte*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void prefetch_mapped(std::span<const std::byte> bytes) noexcept {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data()) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(bytes.data()) + bytes.size();
#ifdef MADV_POPULATE_READ
  constexpr int kAdvice = MADV_POPULATE_READ;
#else
  constexpr int kAdvice = MADV_WILLNEED;
#endif
  // A refusal costs nothing but the head start.
  ::madvise(reinterpret_cast<void*>(begin), end - begin, kAdvice);  // NOLINT(performance-no-int-to-ptr)
}

void release_mapped(std::span<const std::byte> bytes) noexcept {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(bytes.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(bytes.data()) + bytes.size()) / page * page;
  if (begin >= end) return;
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);  // NOLINT(performance-no-int-to-ptr)
}

}  // namespace inlay
