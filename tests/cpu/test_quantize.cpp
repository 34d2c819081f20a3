#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cpu/kernel_cases.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Quantized {
  std::vector<std::int8_t> quants;
  std::vector<float> scales;
  std::vector<float> sums;

  Quantized(const cpu::KernelTable& table, const std::vector<float>& x)
      : quants(x.size() + 1, 77), scales(poisoned(x.size() / 32 + 1)), sums(poisoned(x.size() / 16 + 1)) {
    table.quantize(x.data(), static_cast<int>(x.size()), quants.data(), scales.data(), sums.data());
    REQUIRE(quants.back() == 77);
    REQUIRE(is_poison(scales.back()));
    REQUIRE(is_poison(sums.back()));
  }
};

/// Blocks of many magnitudes, ties, zeros, the smallest and the largest floats.
std::vector<float> varied_values() {
  Random random(1);
  std::vector<float> x;
  for (int exponent = -149; exponent <= 127; ++exponent) {
    const std::vector<float> block = random_floats(random, 32, 0.25F);
    for (const float value : block) x.push_back(std::ldexp(value, exponent));
  }
  for (int i = 0; i < 64; ++i) x.push_back(static_cast<float>(i) - 31.5F);  // ties, with a scale of 1 / 2
  for (int i = 0; i < 32; ++i) x.push_back(i == 0 ? 127.0F : static_cast<float>(i) + 0.5F);
  x.insert(x.end(), 32, 0.0F);
  x.insert(x.end(), 32, -0.0F);
  x.insert(x.end(), 32, std::numeric_limits<float>::max());
  x.insert(x.end(), 32, std::numeric_limits<float>::denorm_min());
  x.insert(x.end(), 32, cpu::kSmallestActivation);
  x.insert(x.end(), 32, std::nextafter(cpu::kSmallestActivation, 0.0F));
  return x;
}

TEST_CASE("every table quantises to the same bits") {
  std::vector<float> x = varied_values();
  for (const float special : {kInfinity, -kInfinity, std::nanf(""), -std::nanf("")}) {
    x.insert(x.end(), 32, 1.0F);
    x[x.size() - 7] = special;
  }
  const Quantized expected(cpu::generic_kernels(), x);
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    CAPTURE(std::string(table->name));
    const Quantized found(*table, x);
    CHECK(found.quants == expected.quants);
    CHECK(same_bits(found.scales.data(), expected.scales.data(), found.scales.size()));
    CHECK(same_bits(found.sums.data(), expected.sums.data(), found.sums.size()));
    MESSAGE(std::string(table->name), ": ", x.size(), " values");
  }
}

TEST_CASE("quants are the nearest multiples of the scale") {
  const std::vector<float> x = varied_values();
  const Quantized result(cpu::generic_kernels(), x);
  for (std::size_t block = 0; block < x.size() / 32; ++block) {
    float largest = 0.0F;
    for (std::size_t i = 0; i < 32; ++i) largest = std::max(largest, std::abs(x[32 * block + i]));
    if (largest < cpu::kSmallestActivation) {
      REQUIRE(result.scales[block] == 0.0F);
      continue;
    }
    REQUIRE(result.scales[block] == largest / 127.0F);
    int totals[2] = {};
    for (std::size_t i = 0; i < 32; ++i) {
      const int quant = result.quants[32 * block + i];
      totals[i / 16] += quant;
      const double exact = static_cast<double>(x[32 * block + i]) * 127.0 / static_cast<double>(largest);
      REQUIRE(std::abs(exact - quant) <= 0.5 + 0x1.0p-16);  // 127 roundings of 2^-24
    }
    for (std::size_t half = 0; half < 2; ++half) {
      REQUIRE(result.sums[2 * block + half] == result.scales[block] * static_cast<float>(totals[half]));
    }
  }
  MESSAGE("checked ", x.size(), " values");
}

TEST_CASE("a block with a NaN or an infinity becomes zeros times NaN") {
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    for (const float special : {kInfinity, -kInfinity, std::nanf("")}) {
      std::vector<float> x(64, 1.0F);
      x[40] = special;
      const Quantized result(*table, x);
      CHECK(result.scales[0] == 1.0F / 127.0F);
      CHECK(std::isnan(result.scales[1]));
      CHECK(std::isnan(result.sums[2]));
      CHECK(std::isnan(result.sums[3]));
      for (std::size_t i = 32; i < 64; ++i) REQUIRE(result.quants[i] == 0);
    }
  }
}

}  // namespace
