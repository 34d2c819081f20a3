// The tensors that a plan uses, checked against what the plan expects of them. Steps name tensors by id, backends keep
// their own copies by id.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include <inlay/result.hpp>

#include "gguf/gguf.hpp"
#include "quant/formats.hpp"

namespace inlay {

/// Ids index TensorTable::matrices() and vectors(). kNoTensor: the step has no such tensor.
using MatrixId = std::int32_t;
using VectorId = std::int32_t;
inline constexpr std::int32_t kNoTensor = -1;

/// A weight matrix as it stands in the file: y = W x with W [rows, cols], one row after the other.
struct Matrix {
  std::string name;
  Format format = Format::kF32;
  int rows = 0;
  int cols = 0;
  const std::byte* data = nullptr;  // in the mapped file, no alignment promised

  [[nodiscard]] std::size_t row_bytes() const { return inlay::row_bytes(format, static_cast<std::size_t>(cols)); }
  [[nodiscard]] std::size_t bytes() const { return row_bytes() * static_cast<std::size_t>(rows); }
};

/// A norm weight, a bias or the like, as floats whatever its format in the file.
struct Vector {
  std::string name;
  std::vector<float> values;
};

/// Points into the bytes of the file that its tensors were found in, not to the gguf::File.
class TensorTable {
 public:
  /// The file's matrix of that name, which must be [rows, cols]. kInvalidModel when it is missing or has another shape.
  /// Asking for a name again gives the same id.
  Result<MatrixId> matrix(const gguf::File& file, const std::string& name, int rows, int cols);
  /// The vector of that name, which must have that length.
  Result<VectorId> vector(const gguf::File& file, const std::string& name, int length);
  /// The same, or kNoTensor when the file has none of that name.
  Result<VectorId> optional_vector(const gguf::File& file, const std::string& name, int length);

  [[nodiscard]] const std::vector<Matrix>& matrices() const noexcept { return matrices_; }
  [[nodiscard]] const std::vector<Vector>& vectors() const noexcept { return vectors_; }
  [[nodiscard]] const Matrix& matrix(MatrixId id) const { return matrices_[static_cast<std::size_t>(id)]; }
  /// Null for kNoTensor.
  [[nodiscard]] const float* vector_data(VectorId id) const {
    return id == kNoTensor ? nullptr : vectors_[static_cast<std::size_t>(id)].values.data();
  }

 private:
  std::vector<Matrix> matrices_;
  std::unordered_map<std::string, MatrixId> matrix_ids_;
  std::vector<Vector> vectors_;
};

}  // namespace inlay
