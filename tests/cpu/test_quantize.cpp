#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cpu/kernel_cases.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Blocks that a table makes, apart from each other.
struct Quantized {
  static constexpr std::size_t kStride = 3;
  std::vector<cpu::ActivationBlock> blocks;

  Quantized(const cpu::KernelTable& table, const std::vector<float>& x) {
    std::vector<cpu::ActivationBlock> spread(x.size() / 32 * kStride + 1);
    for (cpu::ActivationBlock& block : spread) block.scale = poisoned(1)[0];
    table.quantize(x.data(), static_cast<int>(x.size()), spread.data(), kStride);
    for (std::size_t i = 0; i < spread.size(); ++i) {
      if (i % kStride == 0 && i + 1 < spread.size())
        blocks.push_back(spread[i]);
      else
        REQUIRE(is_poison(spread[i].scale));
    }
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
    REQUIRE(found.blocks.size() == x.size() / 32);
    CHECK(std::memcmp(found.blocks.data(), expected.blocks.data(), found.blocks.size() * sizeof(found.blocks[0])) == 0);
    MESSAGE(std::string(table->name), ": ", x.size(), " values");
  }
}

/// A correction as ActivationBlock describes it.
std::int32_t correction(int zero, int sum) {
  return static_cast<std::int32_t>((static_cast<unsigned>(-sum) << 16U) | (static_cast<unsigned>(-zero) & 0xFFFFU));
}

void check_sum(float found, double expected, double range) {
  if (std::abs(expected) > static_cast<double>(std::numeric_limits<float>::max())) {
    REQUIRE(std::isinf(found));
  } else {
    REQUIRE(std::abs(static_cast<double>(found) - expected) <= 1e-5 * 32.0 * range);
  }
}

void check_block(const float* x, const cpu::ActivationBlock& block) {
  const double low = std::min(0.0, static_cast<double>(*std::min_element(x, x + 32)));
  const double high = std::max(0.0, static_cast<double>(*std::max_element(x, x + 32)));
  const auto scale = static_cast<double>(block.scale);
  if (scale == 0.0) {
    REQUIRE(high - low < 254.5 * static_cast<double>(cpu::kSmallestScale));
    REQUIRE(block.sum == 0.0F);
    return;
  }
  REQUIRE(scale == doctest::Approx((high - low) / 254.0).epsilon(1e-6));
  REQUIRE(std::abs(block.zero) <= 127);
  int totals[2] = {};
  for (int i = 0; i < 32; ++i) {
    const int quant = block.quants[i];
    REQUIRE(std::abs(quant) <= 127);
    totals[i / 16] += quant - block.zero;
    // Half a step, and at the ends of the range up to another half where the whole zero moved it.
    const bool at_end = std::abs(quant) == 127;
    REQUIRE(std::abs(static_cast<double>(x[i]) - scale * (quant - block.zero)) <= scale * (at_end ? 1.001 : 0.501));
    if (x[i] == 0.0F) REQUIRE(quant == block.zero);
  }
  for (int half = 0; half < 2; ++half) {
    check_sum(block.half_sums[half], scale * totals[half], high - low);
    REQUIRE(block.half_corrections[half] == correction(block.zero, totals[half]));
  }
  check_sum(block.sum, scale * (totals[0] + totals[1]), high - low);
  REQUIRE(block.correction == correction(block.zero, totals[0] + totals[1]));
}

TEST_CASE("a block's 255 steps span its range, and quants are the nearest steps") {
  const std::vector<float> x = varied_values();
  const Quantized result(cpu::generic_kernels(), x);
  for (std::size_t i = 0; i < result.blocks.size(); ++i) check_block(&x[32 * i], result.blocks[i]);
  MESSAGE("checked ", x.size(), " values");
}

TEST_CASE("a block with a NaN or an infinity becomes zeros times NaN") {
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    for (const float special : {kInfinity, -kInfinity, std::nanf("")}) {
      std::vector<float> x(64, 1.0F);
      x[40] = special;
      const Quantized result(*table, x);
      CHECK(result.blocks[0].scale == 1.0F / 254.0F);
      const cpu::ActivationBlock& block = result.blocks[1];
      for (const float value : {block.scale, block.sum, block.half_sums[0], block.half_sums[1]}) {
        CHECK(std::isnan(value));
      }
      for (const std::int8_t quant : block.quants) REQUIRE(quant == 0);
    }
  }
}

/// Blocks whose values are not those of x rounded, or that lie between and are not untouched.
std::size_t wrong_bulk_blocks(const cpu::KernelTable& table, const std::vector<float>& x) {
  AlignedBuffer<cpu::BulkBlock> blocks(x.size() / 32 * cpu::kBulkTile);
  AlignedBuffer<cpu::BulkBlock> expected(blocks.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float scaled = x[i] * cpu::kBulkScale;
    expected[i / 32 * cpu::kBulkTile].values[bulk_place(static_cast<int>(i % 32))] = to_bfloat16(scaled);
  }
  table.round_bulk(x.data(), static_cast<int>(x.size()), blocks.data());
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    wrong += std::memcmp(&blocks[i], &expected[i], sizeof(blocks[i])) == 0 ? 0 : 1;
  }
  return wrong;
}

TEST_CASE("bulk rows are rounded to the nearest bfloat16, block by block") {
  std::vector<float> x = varied_values();
  for (const float special : {kInfinity, -kInfinity, std::nanf(""), -std::nanf("")}) x.insert(x.end(), 32, special);
  int n_tables = 0;
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    if (table->round_bulk == nullptr) continue;
    CHECK(wrong_bulk_blocks(*table, x) == 0);
    ++n_tables;
  }
  MESSAGE("checked ", x.size(), " values with ", n_tables, " tables");
}

}  // namespace
