#include "cuda/device_pool.hpp"

#include <atomic>
#include <string>

#include "cuda/cuda_status.hpp"

namespace inlay::cuda {
namespace {

std::atomic<int> allocations_until_failure = -1;

bool is_made_to_fail() {
  int left = allocations_until_failure.load();
  while (left >= 0 && !allocations_until_failure.compare_exchange_weak(left, left - 1)) {
  }
  return left == 0;
}

cudaError_t allocate(void** data, std::size_t bytes, MemoryKind kind) {
  if (is_made_to_fail()) return cudaErrorMemoryAllocation;
  return kind == MemoryKind::kDevice ? cudaMalloc(data, bytes) : cudaMallocHost(data, bytes);
}

}  // namespace

Memory::~Memory() {
  if (data_ == nullptr) return;
  kind_ == MemoryKind::kDevice ? cudaFree(data_) : cudaFreeHost(data_);
}

Result<Memory> DevicePool::take(std::size_t bytes, MemoryKind kind, const char* what) {
  if (bytes == 0) return Memory();
  void* data = nullptr;
  const cudaError_t error = allocate(&data, bytes, kind);
  if (error != cudaSuccess) {
    const std::string place = kind == MemoryKind::kDevice ? " bytes of device memory" : " bytes of page-locked memory";
    return check(error, (std::string(what) + ": " + std::to_string(bytes) + place).c_str()).status();
  }
  return Memory(data, bytes, kind);
}

void DevicePool::fail_after(int n) noexcept { allocations_until_failure.store(n); }

}  // namespace inlay::cuda
