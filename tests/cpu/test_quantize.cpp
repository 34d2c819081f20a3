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
  std::vector<float> offsets;
  std::vector<float> sums;

  Quantized(const cpu::KernelTable& table, const std::vector<float>& x)
      : quants(x.size() + 1, 77),
        scales(poisoned(x.size() / 32 + 1)),
        offsets(scales),
        sums(poisoned(x.size() / 16 + 1)) {
    table.quantize(x.data(), static_cast<int>(x.size()), {quants.data(), scales.data(), offsets.data(), sums.data()});
    REQUIRE(quants.back() == 77);
    REQUIRE(is_poison(scales.back()));
    REQUIRE(is_poison(offsets.back()));
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
  x.insert(x.end(), 32, cpu::kSmallestScale * 254.0F);
  x.insert(x.end(), 32, cpu::kSmallestScale * 253.0F);
  for (int i = 0; i < 32; ++i) x.push_back(i == 5 ? 1000.0F : 0.01F * static_cast<float>(i - 16));  // an outlier
  for (int i = 0; i < 32; ++i) x.push_back(i % 2 == 0 ? std::numeric_limits<float>::max() : -1e38F);
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
    CHECK(same_bits(found.offsets.data(), expected.offsets.data(), found.offsets.size()));
    CHECK(same_bits(found.sums.data(), expected.sums.data(), found.sums.size()));
    MESSAGE(std::string(table->name), ": ", x.size(), " values");
  }
}

TEST_CASE("a block's 255 steps span its range, and quants are the nearest steps") {
  const std::vector<float> x = varied_values();
  const Quantized result(cpu::generic_kernels(), x);
  for (std::size_t block = 0; block < x.size() / 32; ++block) {
    double low = 0.0;
    double high = 0.0;
    for (std::size_t i = 32 * block; i < 32 * block + 32; ++i) {
      low = std::min(low, static_cast<double>(x[i]));
      high = std::max(high, static_cast<double>(x[i]));
    }
    const double scale = static_cast<double>(result.scales[block]);
    if (scale == 0.0) {
      REQUIRE(high - low < 254.5 * static_cast<double>(cpu::kSmallestScale));
      REQUIRE(result.offsets[block] == 0.0F);
      continue;
    }
    REQUIRE(scale == doctest::Approx((high - low) / 254.0).epsilon(1e-6));
    const double zero = -static_cast<double>(result.offsets[block]) / scale;  // the quant of zero is whole
    REQUIRE(std::abs(zero - std::round(zero)) < 1e-4);
    double totals[2] = {};
    for (std::size_t i = 0; i < 32; ++i) {
      const int quant = result.quants[32 * block + i];
      REQUIRE(std::abs(quant) <= 127);
      const double value = scale * (quant - std::round(zero));
      totals[i / 16] += value;
      // Half a step, and at the ends of the range up to another half where the whole zero moved it.
      const bool at_end = std::abs(quant) == 127;
      REQUIRE(std::abs(x[32 * block + i] - value) <= scale * (at_end ? 1.001 : 0.501));
      if (x[32 * block + i] == 0.0F) REQUIRE(quant == std::round(zero));
    }
    for (std::size_t half = 0; half < 2; ++half) {
      const float sum = result.sums[2 * block + half];
      if (std::abs(totals[half]) > static_cast<double>(std::numeric_limits<float>::max())) {
        REQUIRE(std::isinf(sum));
      } else {
        REQUIRE(std::abs(sum - totals[half]) <= 1e-5 * 16.0 * (high - low));
      }
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
      CHECK(result.scales[0] == 1.0F / 254.0F);
      CHECK(std::isnan(result.offsets[1]));
      CHECK(std::isnan(result.scales[1]));
      CHECK(std::isnan(result.sums[2]));
      CHECK(std::isnan(result.sums[3]));
      for (std::size_t i = 32; i < 64; ++i) REQUIRE(result.quants[i] == 0);
    }
  }
}

}  // namespace
