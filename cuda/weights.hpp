// The plan's tensors in device memory: matrices as records, vectors as floats.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include <inlay/result.hpp>

#include "cuda/device_pool.hpp"
#include "cuda/record.hpp"
#include "model/plan.hpp"
#include "runtime/backend.hpp"

namespace inlay::cuda {

/// The rows of queries and keys are put in an order in which the values that a rotation turns together are neighbours,
/// whatever the model's RopeKind: heads of both have the same order, so their products stay as they are.
class Weights {
 public:
  /// Uploads to the current device. kOutOfMemory, kDeviceError, kCancelled.
  static Result<Weights> load(const Plan& plan, const ExecutorOptions& options, cudaStream_t stream);

  [[nodiscard]] const DeviceMatrix& matrix(MatrixId id) const { return matrices_[static_cast<std::size_t>(id)]; }
  /// Null for kNoTensor.
  [[nodiscard]] const float* vector(VectorId id) const {
    return id == kNoTensor ? nullptr : vectors_[static_cast<std::size_t>(id)];
  }

  static std::uint64_t device_bytes(const Plan& plan);

 private:
  std::vector<DeviceMatrix> matrices_;  // by MatrixId
  std::vector<const float*> vectors_;   // by VectorId
  Memory memory_;
};

}  // namespace inlay::cuda
