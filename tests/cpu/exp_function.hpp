// The vector exp of an instruction set, for the test of its accuracy.
#pragma once

#include <cstddef>

namespace inlay::test {

/// out[i] = exp(x[i]); n is a multiple of 16. Run only where the table of that name is usable.
using ExpFunction = void (*)(const float* x, std::size_t n, float* out);

#if defined(__x86_64__)
void exp_avx2(const float* x, std::size_t n, float* out);
void exp_avx512(const float* x, std::size_t n, float* out);
#endif

}  // namespace inlay::test
