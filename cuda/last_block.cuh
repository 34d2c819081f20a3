// Which block of a kernel ends last, so that it can go on with what all of them have made.
#pragma once

#include <cuda_runtime.h>

namespace inlay::cuda {

/// True for the block that is the last of `n`, and then everything that the others wrote before is visible: a barrier
/// stands between the writes and the counting, and another between that and what is read. `n_arrived`: zero, and zero
/// again afterwards. By all threads of each of the blocks.
__device__ __forceinline__ bool is_last(unsigned* n_arrived, unsigned n) {
  const unsigned highest = n - 1;
  unsigned before = ~highest;
  __syncthreads();
  if (threadIdx.x == 0) {
    asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;"
                 : "=r"(before)
                 : "l"(n_arrived), "r"(highest)
                 : "memory");
  }
  return __syncthreads_or(before == highest ? 1 : 0) != 0;
}

}  // namespace inlay::cuda
