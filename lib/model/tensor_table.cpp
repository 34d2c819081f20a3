#include "model/tensor_table.hpp"

#include <array>

#include "base/try.hpp"
#include "quant/reference.hpp"

namespace inlay {
namespace {

std::string shape_text(const gguf::Tensor& tensor) {
  std::string text = "[";  // rows first, as the matrices are spoken of
  for (int i = tensor.n_dims - 1; i >= 0; --i) {
    text += std::to_string(tensor.dims[static_cast<std::size_t>(i)]);
    if (i > 0) text += ", ";
  }
  return text + "]";
}

Status wrong_shape(const gguf::Tensor& tensor, const std::string& expected) {
  return {StatusCode::kInvalidModel,
          "tensor \"" + std::string(tensor.name) + "\": expected " + expected + ", found " + shape_text(tensor)};
}

Status missing(const std::string& name) { return {StatusCode::kInvalidModel, "tensor \"" + name + "\": is missing"}; }

}  // namespace

Result<MatrixId> TensorTable::matrix(const gguf::File& file, const std::string& name, int rows, int cols) {
  const gguf::Tensor* tensor = file.find_tensor(name);
  if (tensor == nullptr) return missing(name);
  const std::array<std::uint64_t, 4> expected = {static_cast<std::uint64_t>(cols), static_cast<std::uint64_t>(rows), 1,
                                                 1};
  if (tensor->dims != expected) {
    return wrong_shape(*tensor, "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]");
  }
  const auto [known, is_new] = matrix_ids_.try_emplace(name, static_cast<MatrixId>(matrices_.size()));
  if (is_new) matrices_.push_back({name, tensor->format, rows, cols, tensor->data.data()});
  return known->second;
}

Result<VectorId> TensorTable::vector(const gguf::File& file, const std::string& name, int length) {
  const gguf::Tensor* tensor = file.find_tensor(name);
  if (tensor == nullptr) return missing(name);
  const std::array<std::uint64_t, 4> expected = {static_cast<std::uint64_t>(length), 1, 1, 1};
  if (tensor->dims != expected) return wrong_shape(*tensor, "[" + std::to_string(length) + "]");
  Vector vector{name, std::vector<float>(static_cast<std::size_t>(length))};
  decode_row(tensor->format, tensor->data.data(), vector.values.size(), vector.values.data());
  vectors_.push_back(std::move(vector));
  return static_cast<VectorId>(vectors_.size() - 1);
}

Result<VectorId> TensorTable::optional_vector(const gguf::File& file, const std::string& name, int length) {
  if (file.find_tensor(name) == nullptr) return kNoTensor;
  return vector(file, name, length);
}

}  // namespace inlay
