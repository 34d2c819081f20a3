#include "cpu/exp_function.hpp"
#include "cpu/kernels/exp.inl"
#include "cpu/vec_avx512.hpp"

namespace inlay::test {

void exp_avx512(const float* x, std::size_t n, float* out) {
  using cpu::Avx512;
  for (std::size_t i = 0; i < n; i += Avx512::kLanes) Avx512::store(out + i, cpu::exp<Avx512>(Avx512::load(x + i)));
}

}  // namespace inlay::test
