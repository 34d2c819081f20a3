#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cpu/cpu_isa.hpp"
#include "cpu/exp_function.hpp"

namespace {

using inlay::test::ExpFunction;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

ExpFunction exp_of([[maybe_unused]] const char* table) {
#if defined(__x86_64__)
  if (std::strcmp(table, "avx2") == 0) return inlay::test::exp_avx2;
  if (std::strcmp(table, "avx512") == 0 || std::strcmp(table, "amx") == 0) return inlay::test::exp_avx512;
#endif
  return nullptr;
}

/// The distance of `found` from e^x in units of the last place of a float near e^x.
double ulps_from_exact(float x, float found) {
  const double exact = std::exp(static_cast<double>(x));
  const double smallest = std::ldexp(1.0, -149);
  const double unit = std::max(smallest, std::ldexp(1.0, std::ilogb(exact) - 23));
  return std::abs(static_cast<double>(found) - exact) / unit;
}

struct ExpErrors {
  double worst_ulps = 0.0;
  std::size_t checked = 0;
};

/// Of 4096 floats whose bits are 511 apart, from `first_bits` on.
void measure(ExpFunction exp, std::uint32_t first_bits, float sign, ExpErrors& errors) {
  std::vector<float> x(4096);
  std::vector<float> out(x.size());
  for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = sign * std::bit_cast<float>(first_bits + 511 * i);
  exp(x.data(), x.size(), out.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (x[i] > 88.7F || x[i] < -104.0F) continue;
    errors.worst_ulps = std::max(errors.worst_ulps, ulps_from_exact(x[i], out[i]));
    ++errors.checked;
  }
}

TEST_CASE("exp is within its stated error from -104 to 88.7, with subnormal results") {
  for (const inlay::cpu::KernelTable* table : inlay::cpu::usable_kernels()) {
    const ExpFunction exp = exp_of(table->name);
    if (exp == nullptr) continue;
    ExpErrors errors;
    // Steps of the bits: about two million floats of each sign, dense where floats are.
    for (std::uint32_t bits = 0; bits < 0x42D00000U; bits += 511 * 4096) {
      for (const float sign : {1.0F, -1.0F}) measure(exp, bits, sign, errors);
    }
    CHECK(errors.worst_ulps <= 1.0);
    MESSAGE(std::string(table->name), ": ", errors.checked, " values, at most ", errors.worst_ulps, " ulp");
  }
}

TEST_CASE("exp of the special values") {
  for (const inlay::cpu::KernelTable* table : inlay::cpu::usable_kernels()) {
    const ExpFunction exp = exp_of(table->name);
    if (exp == nullptr) continue;
    CAPTURE(std::string(table->name));
    const std::vector<float> x = {0.0F,    -0.0F,   kInfinity, -kInfinity, std::nanf(""), 1e30F,   -1e30F,  1e-45F,
                                  -1e-45F, -104.0F, 88.72F,    89.0F,      -90.0F,        -103.0F, 1000.0F, -200.0F};
    std::vector<float> out(x.size());
    exp(x.data(), x.size(), out.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      CAPTURE(x[i]);
      const float expected = std::exp(x[i]);
      if (std::isnan(expected)) {
        CHECK(std::isnan(out[i]));
      } else if (std::isinf(expected) || expected == 0.0F) {
        CHECK(out[i] == expected);
      } else {
        CHECK(ulps_from_exact(x[i], out[i]) <= 1.0);
      }
    }
  }
}

}  // namespace
