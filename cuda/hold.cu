#include "cuda/hold.hpp"

namespace inlay::cuda {
namespace {

__device__ __forceinline__ std::uint64_t clock_ns() {
  std::uint64_t now = 0;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

__global__ void hold_kernel(const volatile std::int32_t* released, std::uint64_t longest_ns) {
  const std::uint64_t begin = clock_ns();
  while (*released == 0 && clock_ns() - begin < longest_ns) __nanosleep(200);
}

}  // namespace

cudaError_t hold(const volatile std::int32_t* released, std::uint64_t longest_ns, cudaStream_t stream) {
  // Unlike launch.hpp: nothing may overlap with it.
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(1);
  config.blockDim = dim3(1);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, hold_kernel, released, longest_ns);
}

}  // namespace inlay::cuda
