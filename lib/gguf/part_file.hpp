// A file that appears under its name only when it is complete.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <inlay/result.hpp>

namespace inlay::gguf {

/// Written beside its destination and renamed at the end. Removed when it is destroyed before that. Movable.
class PartFile {
 public:
  /// kIoError when nothing can be created beside `path`.
  static Result<PartFile> create(const std::string& path);

  PartFile(PartFile&& other) noexcept;
  PartFile& operator=(PartFile&&) = delete;
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;
  ~PartFile();

  /// Appends. kIoError.
  Result<void> write(std::span<const std::byte> bytes);
  /// Replaces what is at the destination; the last call. kIoError.
  Result<void> rename();

 private:
  explicit PartFile(std::string path) noexcept;

  std::string path_;
  std::string part_;
  int descriptor_ = -1;  // -1 when moved from
  bool renamed_ = false;
};

}  // namespace inlay::gguf
