// exp for every vector.
#pragma once

#include "cpu/isa_code.hpp"

namespace inlay::cpu {
namespace {

/// e^x within a unit in the last place, subnormal results included; 0 below -104, infinity above 88.73, NaN for NaN.
/// x = n ln 2 + r with |r| <= ln 2 / 2, so that e^x = 2^n e^r; e^r is its Taylor polynomial, whose first left out term
/// is below 2^-27.
template <class Isa>
INLAY_INLINE typename Isa::Vec exp(typename Isa::Vec x) {
  using Vec = typename Isa::Vec;
  // The operand order of min and max lets a NaN through: they return the second operand when one is a NaN.
  const Vec clamped = Isa::max(Isa::set1(-104.0F), Isa::min(Isa::set1(89.0F), x));
  const Vec n = Isa::round(Isa::mul(clamped, Isa::set1(0x1.715476p+0F)));
  // ln 2 in two parts; n times the first is exact (the first has 15 significant bits, n at most 8).
  Vec r = Isa::fma(n, Isa::set1(-0x1.62e4p-1F), clamped);
  r = Isa::fma(n, Isa::set1(-0x1.7f7d1cp-20F), r);
  Vec sum = Isa::set1(1.0F / 5040.0F);
  sum = Isa::fma(sum, r, Isa::set1(1.0F / 720.0F));
  sum = Isa::fma(sum, r, Isa::set1(1.0F / 120.0F));
  sum = Isa::fma(sum, r, Isa::set1(1.0F / 24.0F));
  sum = Isa::fma(sum, r, Isa::set1(1.0F / 6.0F));
  sum = Isa::fma(sum, r, Isa::set1(0.5F));
  sum = Isa::fma(sum, r, Isa::set1(1.0F));
  sum = Isa::fma(sum, r, Isa::set1(1.0F));
  return Isa::scale_by_power(sum, n);
}

}  // namespace
}  // namespace inlay::cpu
