// Failures of the CUDA runtime as a Status.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include <inlay/result.hpp>

namespace inlay::cuda {

inline Result<void> check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return {};
  cudaGetLastError();  // so that a failure which can be survived is not reported again by the next call
  return Status(error == cudaErrorMemoryAllocation ? StatusCode::kOutOfMemory : StatusCode::kDeviceError,
                std::string(what) + ": " + cudaGetErrorString(error));
}

/// Makes a device the thread's current one, and the previous one again at the end: hosts use CUDA, too.
class DeviceScope {
 public:
  explicit DeviceScope(int device) {
    if (cudaGetDevice(&previous_) != cudaSuccess) previous_ = device;
    error_ = cudaSetDevice(device);
  }
  ~DeviceScope() { cudaSetDevice(previous_); }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
  [[nodiscard]] Result<void> status() const { return check(error_, "CUDA device"); }

 private:
  int previous_ = 0;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace inlay::cuda
