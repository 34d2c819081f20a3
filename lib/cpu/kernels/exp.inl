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

/// 2^x for x <= 0, within two units in the last place; 0 below -126, NaN for NaN. x = n + r with |r| <= 1/2; 2^r is the
/// polynomial of degree 6 with the least relative error, 2^-29 before rounding.
template <class Isa>
INLAY_INLINE typename Isa::Vec exp2_of_negative(typename Isa::Vec x) {
  using Vec = typename Isa::Vec;
  const Vec n = Isa::round(x);
  const Vec r = Isa::sub(x, n);
  Vec sum = Isa::set1(0x1.41d334p-13F);
  sum = Isa::fma(sum, r, Isa::set1(0x1.5f456ap-10F));
  sum = Isa::fma(sum, r, Isa::set1(0x1.3b2dbcp-7F));
  sum = Isa::fma(sum, r, Isa::set1(0x1.c6aed4p-5F));
  sum = Isa::fma(sum, r, Isa::set1(0x1.ebfbdap-3F));
  sum = Isa::fma(sum, r, Isa::set1(0x1.62e430p-1F));
  sum = Isa::fma(sum, r, Isa::set1(1.0F));
  return Isa::scale_down(sum, n, x);
}

}  // namespace
}  // namespace inlay::cpu
