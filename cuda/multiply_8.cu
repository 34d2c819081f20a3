#include "cuda/multiply_kernel.cuh"

namespace inlay::cuda {

MultiplyKernel multiply_kernel_8(Format first, Format second) { return single_or_pair<8>(first, second); }

}  // namespace inlay::cuda
