#include <doctest/doctest.h>

#include <cstdint>
#include <limits>

#include "base/checked_math.hpp"

namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

TEST_CASE("checked arithmetic notices every wrap-around") {
  CHECK(inlay::checked_add(kMax - 1, 1) == kMax);
  CHECK_FALSE(inlay::checked_add(kMax, 1).has_value());
  CHECK(inlay::checked_multiply(1ULL << 32U, (1ULL << 32U) - 1) == kMax - (1ULL << 32U) + 1);
  CHECK_FALSE(inlay::checked_multiply(1ULL << 32U, 1ULL << 32U).has_value());
  CHECK(inlay::checked_align(33, 32) == 64);
  CHECK(inlay::checked_align(64, 32) == 64);
  CHECK_FALSE(inlay::checked_align(kMax - 3, 32).has_value());
  CHECK(inlay::ceil_div(0, 8) == 0);
  CHECK(inlay::ceil_div(kMax, 2) == (kMax / 2) + 1);
}

}  // namespace
