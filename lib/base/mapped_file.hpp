// A read-only memory map of a whole file.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <inlay/result.hpp>

namespace inlay {

/// Unmapped when destroyed. Movable.
class MappedFile {
 public:
  /// kNotFound (no such file), kIoError (a directory, no permission, an empty file, or the map failed).
  static Result<MappedFile> open(const std::string& path);
  MappedFile() noexcept = default;

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  MappedFile(const std::byte* data, std::size_t size) noexcept : data_(data), size_(size) {}

  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Reads the system pages that hold `bytes` into memory, where the system supports asking for that.
void prefetch_mapped(std::span<const std::byte> bytes) noexcept;

/// Gives back the system pages that lie wholly in `bytes`, which must be of a MappedFile: they no longer count as the
/// process's memory, and are read again when they are used again.
void release_mapped(std::span<const std::byte> bytes) noexcept;

}  // namespace inlay
