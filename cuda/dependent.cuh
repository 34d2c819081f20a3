// Programmatic dependent launch (CUDA programming guide, "Programmatic Dependent Launch"): a kernel may start while its
// predecessor still runs, and waits for its results where it needs them. Before compute capability 9.0 kernels simply
// follow each other.
#pragma once

namespace inlay::cuda {

/// From here on the next kernel of the stream may start.
__device__ __forceinline__ void allow_next_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/// Returns when everything that was launched before has ended and its writes are visible. Every thread calls it before
/// it reads what a kernel wrote, or writes.
__device__ __forceinline__ void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace inlay::cuda
