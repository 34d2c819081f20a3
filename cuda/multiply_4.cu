#include "cuda/multiply_kernel.cuh"

namespace inlay::cuda {

MultiplyKernel multiply_kernel_4(Format first, Format second) { return single_or_pair<4>(first, second); }

}  // namespace inlay::cuda
