// Files that live as long as a test.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace inlay::test {

/// A new empty directory, removed with all that is in it by the destructor.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  /// The path of `name` inside; nothing is created.
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }
  /// Writes a file and returns its path. Throws std::runtime_error.
  std::string write(const std::string& name, std::span<const std::byte> bytes) const;

 private:
  std::filesystem::path path_;
};

}  // namespace inlay::test
