// Loads from shared memory whose addresses are numbers: found out before they are needed, they take one operation then.
#pragma once

#include <cuda_runtime.h>

namespace inlay::cuda {

__device__ __forceinline__ int shared_address(const void* pointer) {
  return static_cast<int>(__cvta_generic_to_shared(pointer));
}
__device__ __forceinline__ void load_shared(float4& v, int address) {
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void load_shared(float& v, int address) {
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(address) : "memory");
}

}  // namespace inlay::cuda
