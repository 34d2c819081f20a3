#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/half.hpp"

namespace {

using inlay::bfloat16_to_float;
using inlay::float_to_bfloat16;
using inlay::float_to_half;
using inlay::half_to_float;

float half_by_definition(unsigned bits) {  // IEEE 754-2008, table 3.2
  const float sign = (bits & 0x8000U) != 0 ? -1.0F : 1.0F;
  const int exponent = static_cast<int>((bits >> 10U) & 31U);
  const auto mantissa = static_cast<float>(bits & 1023U);
  if (exponent == 31) return mantissa != 0 ? std::nanf("") : sign * std::numeric_limits<float>::infinity();
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024.0F + mantissa, exponent - 25);
}

TEST_CASE("every half converts to the float of its definition and back") {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float expected = half_by_definition(bits);
    const float value = half_to_float(half);
    if (std::isnan(expected)) {
      REQUIRE(std::isnan(value));
      REQUIRE(std::isnan(half_to_float(float_to_half(value))));
    } else {
      REQUIRE(std::bit_cast<std::uint32_t>(value) == std::bit_cast<std::uint32_t>(expected));
      REQUIRE(float_to_half(value) == half);
    }
  }
  MESSAGE("checked all 65536 halves");
}

TEST_CASE("float to half rounds to nearest, ties to even") {
  for (unsigned bits = 0; bits + 1 < 0x7C00U; ++bits) {
    const double low = half_to_float(static_cast<std::uint16_t>(bits));
    const double high = half_to_float(static_cast<std::uint16_t>(bits + 1));
    const auto middle = static_cast<float>((low + high) / 2);  // exact: 12 significant bits
    REQUIRE(float_to_half(middle) == (bits % 2 == 0 ? bits : bits + 1));
    REQUIRE(float_to_half(std::nextafter(middle, 0.0F)) == bits);
    REQUIRE(float_to_half(std::nextafter(middle, 1e9F)) == bits + 1);
  }
  CHECK(float_to_half(65519.0F) == 0x7BFF);
  CHECK(float_to_half(65520.0F) == 0x7C00);
  CHECK(float_to_half(-1e30F) == 0xFC00);
}

TEST_CASE("bfloat16 is the upper half of a float, rounded to even") {
  CHECK(bfloat16_to_float(0x3F80) == 1.0F);
  CHECK(float_to_bfloat16(1.0F) == 0x3F80);
  CHECK(float_to_bfloat16(std::bit_cast<float>(0x3F808000U)) == 0x3F80);
  CHECK(float_to_bfloat16(std::bit_cast<float>(0x3F818000U)) == 0x3F82);
  CHECK(std::isnan(bfloat16_to_float(float_to_bfloat16(std::nanf("")))));
  CHECK(std::isinf(bfloat16_to_float(float_to_bfloat16(std::numeric_limits<float>::max()))));
}

}  // namespace
