// GGUF files, versions 2 and 3: bounds-checked views into a file's bytes. Source: the GGUF specification
// (ggml/docs/gguf.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <inlay/result.hpp>

#include "quant/formats.hpp"

namespace inlay::gguf {

/// Metadata value types with the numbers of the file format.
enum class ValueType : std::uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

/// The field name of a type ("uint32"); "unknown" for other numbers.
const char* to_string(ValueType type) noexcept;

/// One metadata value: a view into the file. Arrays of arrays are refused by the reader.
struct Value {
  ValueType type = ValueType::kUint8;
  ValueType element_type = ValueType::kUint8;  // of an array
  std::uint64_t count = 1;                     // elements of an array, else 1
  std::span<const std::byte> bytes;            // the elements; of strings: length-prefixed, verified to be in bounds
};

struct Tensor {
  std::string_view name;
  Format format = Format::kF32;
  int n_dims = 0;
  std::array<std::uint64_t, 4> dims = {1, 1, 1, 1};  // dims[0] is the row length, as in the file
  std::span<const std::byte> data;                   // exactly the tensor's bytes
};

/// A parsed header. Holds views into the bytes given to `parse`, which must outlive it. Immutable: thread-safe.
class File {
 public:
  /// Checks the whole header: magic, version, counts, types, bounds, alignment, duplicate names, tensor offsets and
  /// sizes; tensors share no bytes. kInvalidModel for a malformed file, kUnsupported for a tensor type, version, byte
  /// order, array of arrays or part of a split model, none of which inlay reads. Takes O(n log n) time for n bytes of
  /// header, and memory in proportion to it, whatever the file says.
  static Result<File> parse(std::span<const std::byte> bytes);

  [[nodiscard]] std::uint32_t version() const noexcept { return version_; }
  [[nodiscard]] std::uint64_t alignment() const noexcept { return alignment_; }
  /// Bytes ahead of the tensor data, without the padding.
  [[nodiscard]] std::size_t header_bytes() const noexcept { return header_bytes_; }
  /// In file order.
  [[nodiscard]] std::span<const std::pair<std::string_view, Value>> metadata() const noexcept { return metadata_; }
  [[nodiscard]] std::span<const Tensor> tensors() const noexcept { return tensors_; }

  /// Null when absent.
  [[nodiscard]] const Value* find(std::string_view key) const noexcept;
  [[nodiscard]] const Tensor* find_tensor(std::string_view name) const noexcept;

  // Typed reads. nullopt inside the Result: the key is absent. A value of another kind is kInvalidModel and the message
  // names the key, the expected and the found type.
  /// Any integer type whose value fits, for keys that writers store with different widths.
  [[nodiscard]] Result<std::optional<std::int64_t>> find_integer(std::string_view key) const;
  /// float32 or float64.
  [[nodiscard]] Result<std::optional<double>> find_float(std::string_view key) const;
  [[nodiscard]] Result<std::optional<bool>> find_bool(std::string_view key) const;
  [[nodiscard]] Result<std::optional<std::string_view>> find_string(std::string_view key) const;
  [[nodiscard]] Result<std::optional<std::vector<std::string_view>>> find_strings(std::string_view key) const;
  [[nodiscard]] Result<std::optional<std::vector<float>>> find_floats(std::string_view key) const;
  /// An array of any integer type whose values fit.
  [[nodiscard]] Result<std::optional<std::vector<std::int64_t>>> find_integers(std::string_view key) const;

  /// Any value as text, as Model::metadata describes it. nullopt: the key is absent.
  [[nodiscard]] std::optional<std::string> find_text(std::string_view key) const;

 private:
  std::uint32_t version_ = 0;
  std::uint64_t alignment_ = 32;
  std::size_t header_bytes_ = 0;
  std::vector<std::pair<std::string_view, Value>> metadata_;
  std::vector<Tensor> tensors_;
  // Positions sorted by name: no hash table that a file could fill with collisions.
  std::vector<std::uint32_t> metadata_order_;
  std::vector<std::uint32_t> tensor_order_;
  friend class Parser;
};

}  // namespace inlay::gguf
