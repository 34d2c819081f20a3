#include "cuda/multiply_kernel.cuh"

namespace inlay::cuda {

MultiplyKernel multiply_kernel_1(Format first, Format second) { return single_or_pair<1>(first, second); }

namespace {

template <class... Formats>
MultiplyKernel any_of(FormatList<Formats...> /*list*/) {
  return multiply_kernel<1, Formats...>;
}

}  // namespace

MultiplyKernel multiply_kernel_any() { return any_of(WeightFormats{}); }

}  // namespace inlay::cuda
