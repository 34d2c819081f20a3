#include "cpu/exp_function.hpp"
#include "cpu/kernels/exp.inl"
#include "cpu/vec_avx2.hpp"

namespace inlay::test {

void exp_avx2(const float* x, std::size_t n, float* out) {
  using cpu::Avx2;
  for (std::size_t i = 0; i < n; i += Avx2::kLanes) Avx2::store(out + i, cpu::exp<Avx2>(Avx2::load(x + i)));
}

}  // namespace inlay::test
