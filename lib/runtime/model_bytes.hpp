// The bytes of a model file, wherever they are.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <inlay/model.hpp>

#include "base/mapped_file.hpp"
#include "base/page_memory.hpp"

namespace inlay {

/// Owns what has to be owned. Movable; the bytes stay where they are.
class ModelBytes {
 public:
  /// `allocator` may be null; else it must outlive the bytes. kNotFound, kIoError, kInvalidModel (empty),
  /// kInvalidArgument, kOutOfMemory.
  static Result<ModelBytes> open(const ModelSource& source, const HostAllocator* allocator);

  /// The same for a look at the header: of a FileReader's file the first `n` bytes are read, the others are zeros.
  static Result<ModelBytes> open_front(const ModelSource& source, std::uint64_t n);

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  /// Bytes from the start on that are what they are in the file.
  [[nodiscard]] std::uint64_t n_read() const noexcept { return n_read_; }
  /// Whether pages that are not needed any more may be given back with release_mapped.
  [[nodiscard]] bool may_release() const noexcept { return may_release_; }
  /// For messages: `file "model.gguf"`, `model in memory`, `model from a reader`.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  static Result<ModelBytes> open_path(const std::string& path);
  static Result<ModelBytes> open_memory(std::span<const std::byte> bytes);
  static Result<ModelBytes> read(const FileReader& reader, std::uint64_t n, const HostAllocator* allocator);

  std::span<const std::byte> bytes_;
  std::uint64_t n_read_ = 0;
  bool may_release_ = false;
  std::string name_;
  MappedFile mapped_;  // of a path
  PageMemory memory_;  // of a reader
};

}  // namespace inlay
