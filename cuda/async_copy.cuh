// Copies from global to shared memory that do not wait (PTX ISA, "cp.async"). A thread waits for its own.
#pragma once

#include <cuda_runtime.h>

namespace inlay::cuda {

/// Of 4, 8 or 16 bytes. Through the first cache, where it stays, if kNear.
template <int kBytes, bool kNear = kBytes != 16>
__device__ __forceinline__ void copy_async(void* to, const void* from) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  if constexpr (kNear) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(address), "l"(from), "n"(kBytes) : "memory");
  } else {
    asm volatile("cp.async.cg.shared.global [%0], [%1], %2;" ::"r"(address), "l"(from), "n"(kBytes) : "memory");
  }
}

/// Of 16 bytes that may be read, or else as many zeros.
__device__ __forceinline__ void copy_async_or_zeros(void* to, const void* from, bool is_there) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const int n_bytes = is_there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(n_bytes) : "memory");
}

/// What was copied since the last call is a group of copies.
__device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Returns when at most n groups of copies are on their way, or two if n is more.
__device__ __forceinline__ void wait_for_groups(int n) {
  if (n >= 2) {
    asm volatile("cp.async.wait_group 2;" ::: "memory");
  } else if (n == 1) {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
  } else {
    asm volatile("cp.async.wait_group 0;" ::: "memory");
  }
}

/// For all copies.
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

}  // namespace inlay::cuda
