// Writes GGUF files, version 3: for tools and tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <inlay/result.hpp>

#include "gguf/gguf.hpp"
#include "gguf/part_file.hpp"
#include "quant/formats.hpp"

namespace inlay::gguf {

/// Takes the tensors' bytes piece by piece: a file need not fit into memory. Movable.
class TensorStream {
 public:
  /// The next bytes, in the order of the tensors and across their ends; the padding between them is added. kIoError,
  /// kInternal for more than was declared.
  Result<void> write(std::span<const std::byte> bytes);
  /// The file appears under its name; the last call. kIoError, kInternal for less than was declared.
  Result<void> finish();

 private:
  friend class Writer;
  TensorStream(PartFile file, std::vector<std::uint64_t> sizes, std::uint64_t alignment);
  /// Steps over the tensors that have all their bytes.
  Result<void> skip_complete();

  PartFile file_;
  std::vector<std::uint64_t> sizes_;
  std::vector<std::byte> zeros_;  // [alignment]
  std::size_t next_ = 0;          // the tensor being written
  std::uint64_t written_ = 0;     // of its bytes
};

/// Collects metadata and tensors, then writes the whole file at once. The order of the calls is the order in the file.
/// Writes what it is told, also what no reader accepts (names twice, wrong sizes): tests need such files. Tensors are
/// aligned to general.alignment when that is added as a uint32 power of two up to 65536, else to 32 bytes.
class Writer {
 public:
  Writer();

  void add_uint32(std::string_view key, std::uint32_t value);
  void add_int32(std::string_view key, std::int32_t value);
  void add_uint64(std::string_view key, std::uint64_t value);
  void add_float32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_string(std::string_view key, std::string_view value);
  void add_strings(std::string_view key, std::span<const std::string> values);
  void add_float32s(std::string_view key, std::span<const float> values);
  void add_int32s(std::string_view key, std::span<const std::int32_t> values);
  /// Any value as it stands in another file or in a test (also malformed ones).
  void add_raw(std::string_view key, ValueType type, std::span<const std::byte> encoded);
  /// Copies a value of a parsed file.
  void add(std::string_view key, const Value& value);

  /// `data` holds the tensor's bytes in `format`; copied.
  void add_tensor(std::string_view name, Format format, std::initializer_list<std::uint64_t> dims,
                  std::span<const std::byte> data);
  void add_tensor(std::string_view name, Format format, std::span<const std::uint64_t> dims,
                  std::vector<std::byte> data);
  /// A tensor whose bytes come later: for `begin` alone. Its row is a multiple of the format's block.
  void declare_tensor(std::string_view name, Format format, std::span<const std::uint64_t> dims);

  /// The whole file.
  [[nodiscard]] std::vector<std::byte> finish() const;
  /// The same, into a file: written beside it and renamed, so that `path` never holds half a file. kIoError.
  [[nodiscard]] Result<void> write(const std::string& path) const;
  /// Writes all but the tensors' bytes, which the caller then streams: those of `add_tensor` too. kIoError.
  [[nodiscard]] Result<TensorStream> begin(const std::string& path) const;

 private:
  struct PendingTensor {
    std::string name;
    Format format;
    std::vector<std::uint64_t> dims;
    std::uint64_t bytes;
    std::vector<std::byte> data;  // empty: declared
  };
  /// All of the file but the tensor data, padded to where they begin when there are any.
  [[nodiscard]] std::vector<std::byte> header() const;

  std::uint64_t alignment_;
  std::vector<std::byte> metadata_;
  std::uint64_t n_metadata_ = 0;
  std::vector<PendingTensor> tensors_;
};

}  // namespace inlay::gguf
