#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/checked_math.hpp"
#include "base/try.hpp"
#include "cuda/cuda_status.hpp"
#include "cuda/executor.hpp"
#include "model/kv_page.hpp"
#include "runtime/backend.hpp"

namespace inlay::cuda {

const Backend& backend();  // named by runtime/registry.cpp

namespace {

/// What the driver takes for a model besides, whatever its size: a graph, a stream, and what it rounds up. Measured on
/// an H200 with two models, of 208 and 233 MB.
constexpr std::uint64_t kDriverBytes = 6'000'000;

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {  // no driver, or one that is too old
    cudaGetLastError();
    return 0;
  }
  return count;
}

bool describe(int index, DeviceInfo& info) {
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  info = {DeviceKind::kCuda, index, properties.name,
          "sm_" + std::to_string(properties.major) + std::to_string(properties.minor), properties.totalGlobalMem};
  return properties.major >= 8;
}

class CudaBackend final : public Backend {
 public:
  [[nodiscard]] DeviceKind kind() const override { return DeviceKind::kCuda; }

  [[nodiscard]] std::vector<DeviceInfo> devices() const override {
    std::vector<DeviceInfo> all;
    for (int i = 0; i < device_count(); ++i) {
      DeviceInfo info;
      if (describe(i, info)) all.push_back(std::move(info));
    }
    return all;
  }

  [[nodiscard]] Result<DeviceInfo> choose_device(const ExecutorOptions& options) const override {
    const int count = device_count();
    DeviceInfo info;
    if (options.device_index < 0 || options.device_index >= count || !describe(options.device_index, info)) {
      return Status(StatusCode::kNotFound, "model option device_index: there is no usable CUDA device " +
                                               std::to_string(options.device_index) + " among " +
                                               std::to_string(count));
    }
    return info;
  }

  [[nodiscard]] MemoryEstimate estimate(const Plan& plan, int context_length,
                                        const ExecutorOptions& options) const override {
    MemoryEstimate estimate;
    estimate.weight_bytes = Weights::device_bytes(plan);
    estimate.activation_bytes = CudaExecutor::work_bytes(plan, options) + kDriverBytes;
    const std::uint64_t n_pages = ceil_div(static_cast<std::uint64_t>(context_length), kKvPagePositions);
    estimate.kv_bytes = n_pages * KvMemory::page_bytes(plan.spec, options.kv_format);
    return estimate;
  }

  [[nodiscard]] Result<std::unique_ptr<Executor>> load(const Plan& plan,
                                                       const ExecutorOptions& options) const override {
    return CudaExecutor::create(plan, options);
  }
};

}  // namespace

const Backend& backend() {
  static const CudaBackend kBackend;
  return kBackend;
}

}  // namespace inlay::cuda
