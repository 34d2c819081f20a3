#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/half.hpp"
#include "cpu/attention_cases.hpp"
#include "cpu/attention_split.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

constexpr KvFormat kFormats[] = {KvFormat::kF16, KvFormat::kQ8_0};

bool holds(KvFormat format, int head_size) { return format == KvFormat::kF16 || head_size % kKvBlock == 0; }

struct Shape {
  int head_size;
  int group;
  int n_rows;
};

/// Compares a run with double precision.
void check_case(Random& random, const cpu::KernelTable& table, KvFormat format, const Shape& shape, int n_positions,
                float size) {
  const int last = n_positions + shape.n_rows - 1;
  KvPages pages(format, shape.head_size, last);
  pages.store_random(random, last, size);
  const auto n = static_cast<std::size_t>(shape.n_rows * shape.group * shape.head_size);
  const std::vector<float> query = random_floats(random, n, size);
  const float scale = 1.0F / std::sqrt(static_cast<float>(shape.head_size));
  CHECK_MESSAGE(count_wrong(table, {pages, query, shape.n_rows, shape.group, scale, n_positions}) == 0, table.name,
                ", format ", static_cast<int>(format), ", head size ", shape.head_size, ", group ", shape.group, ", ",
                shape.n_rows, " rows from ", n_positions, " positions, size ", size);
}

TEST_CASE("attention is within rounding of softmax in double precision") {
  constexpr Shape kShapes[] = {{1, 1, 1},   {5, 3, 2},    {20, 1, 5},  {32, 4, 1},   {40, 2, 9},
                               {64, 1, 1},  {64, 3, 16},  {64, 8, 1},  {64, 8, 6},   {80, 1, 48},
                               {80, 5, 1},  {96, 2, 3},   {128, 4, 1}, {128, 4, 12}, {128, 7, 2},
                               {256, 1, 7}, {256, 16, 1}, {33, 16, 3}, {64, 2, 1},   {160, 6, 1}};
  std::size_t runs = 0;
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    Random random(1);
    for (const Shape& shape : kShapes) {
      for (const KvFormat format : kFormats) {
        if (!holds(format, shape.head_size)) continue;
        for (const int n_positions : {1, 2, 15, 16, 17, 60, 64, 65, 129, 250, 256, 257, 520}) {
          check_case(random, *table, format, shape, n_positions, 1.0F);
          ++runs;
        }
      }
    }
    for (int n_positions = 1; n_positions <= 300; ++n_positions, ++runs) {
      check_case(random, *table, KvFormat::kF16, {16, 3, 1}, n_positions, 1.0F);
    }
  }
  MESSAGE("compared ", runs, " runs");
}

TEST_CASE("attention with scores in the thousands does not overflow") {
  std::size_t runs = 0;
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    Random random(2);
    for (const KvFormat format : kFormats) {
      for (const int n_positions : {1, 64, 200, 600}) {
        for (const float size : {0.0F, 1e-4F, 30.0F, 500.0F}) {
          check_case(random, *table, format, {64, 4, 1}, n_positions, size);
          check_case(random, *table, format, {64, 2, 5}, n_positions, size);
          runs += 2;
        }
      }
    }
  }
  MESSAGE("compared ", runs, " runs");
}

TEST_CASE("a query's bits depend on neither the other queries nor what it does not see") {
  constexpr Shape kShapes[] = {{64, 3, 16}, {64, 1, 48}, {80, 4, 12}, {128, 8, 6}, {40, 7, 5}, {256, 2, 9}};
  std::size_t queries = 0;
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    CAPTURE(std::string(table->name));
    Random random(3);
    for (const Shape& shape : kShapes) {
      for (const KvFormat format : kFormats) {
        if (!holds(format, shape.head_size)) continue;
        for (const int n_positions : {1, 50, 64, 250, 300}) {
          CAPTURE(n_positions);
          const int last = n_positions + shape.n_rows - 1;
          const auto head_size = static_cast<std::size_t>(shape.head_size);
          const std::vector<float> keys = random_floats(random, static_cast<std::size_t>(last) * head_size);
          const std::vector<float> values = random_floats(random, keys.size());
          const auto row_size = static_cast<std::size_t>(shape.group) * head_size;
          const std::vector<float> query = random_floats(random, static_cast<std::size_t>(shape.n_rows) * row_size);
          KvPages all(format, shape.head_size, last);
          all.store(*table, keys, values, 0, last);
          const AttentionRun together =
              run_attention(*table, {all, query, shape.n_rows, shape.group, 0.1F, n_positions});
          KvPages seen(format, shape.head_size, last);  // what the row does not see are NaNs
          seen.store(*table, keys, values, 0, n_positions - 1);
          for (int row = 0; row < shape.n_rows; ++row) {
            seen.store(*table, keys, values, n_positions + row - 1, n_positions + row);
            const int head = row % shape.group;
            const std::size_t first =
                static_cast<std::size_t>(row) * row_size + static_cast<std::size_t>(head) * head_size;
            const std::vector<float> one(query.begin() + static_cast<std::ptrdiff_t>(first),
                                         query.begin() + static_cast<std::ptrdiff_t>(first + head_size));
            const AttentionRun alone = run_attention(*table, {seen, one, 1, 1, 0.1F, n_positions + row});
            CHECK(same_bits(alone.out.data(), together.out.data() + first, head_size));
            ++queries;
          }
        }
      }
    }
  }
  MESSAGE("compared ", queries, " queries");
}

TEST_CASE("no position gives zeros, a NaN among those seen gives NaNs") {
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    CAPTURE(std::string(table->name));
    Random random(4);
    for (const KvFormat format : kFormats) {
      KvPages pages(format, 64, 70);
      pages.store_random(random, 66, 1.0F);
      const std::vector<float> query = random_floats(random, std::size_t{3} * 4 * 64);
      const AttentionRun none = run_attention(*table, {pages, query, 1, 4, 0.125F, 0});
      CHECK(std::all_of(none.out.begin(), none.out.begin() + 256, [](float x) { return x == 0.0F; }));
      // Rows that see 66, 67 and 68 of 66 stored positions.
      const AttentionRun some = run_attention(*table, {pages, query, 3, 4, 0.125F, 66});
      CHECK(std::all_of(some.out.begin(), some.out.begin() + 256, [](float x) { return std::isfinite(x); }));
      CHECK(std::all_of(some.out.begin() + 256, some.out.end(), [](float x) { return std::isnan(x); }));
    }
  }
}

/// How far a stored key may be from `x[index]`: nothing as a half, and with a scale for the block it is in, half a step
/// and what a scale that was rounded (by 2^-11, or 2^-25 when subnormal) cuts off at the ends. Infinite beyond the
/// scale.
double key_bound(const std::vector<float>& x, std::size_t index, int column) {
  const auto begin = x.begin() + static_cast<std::ptrdiff_t>(index) - column % kKvBlock;
  double most = 0.0;
  for (auto i = begin; i != begin + kKvBlock; ++i) most = std::max(most, std::abs(static_cast<double>(*i)));
  if (most > 127.0 * 65504.0) return std::numeric_limits<double>::infinity();
  return most / 254.0 * 1.001 + std::max(most * 0x1p-11, 127.0 * 0x1p-25);
}

void check_key(KvFormat format, const KvPages& stored, const std::vector<float>& keys, int head_size, int position,
               int column) {
  const auto index = static_cast<std::size_t>(position * head_size + column);
  if (format == KvFormat::kF16) {
    REQUIRE(stored.key(position, column) == static_cast<double>(half_to_float(float_to_half(keys[index]))));
    return;
  }
  const double bound = key_bound(keys, index, column);
  if (std::isinf(bound)) return;  // NaN or infinite
  REQUIRE(std::abs(stored.key(position, column) - static_cast<double>(keys[index])) <= bound);
}

/// 100 positions of one size of values, stored by every table. Returns how many values were checked.
std::size_t check_stores(Random& random, KvFormat format, int head_size, float size) {
  const auto n = static_cast<std::size_t>(100 * head_size);
  const std::vector<float> keys = random_floats(random, n, size);
  const std::vector<float> values = random_floats(random, n, size);
  KvPages expected(format, head_size, 100);
  expected.store(cpu::generic_kernels(), keys, values, 0, 100);
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    KvPages found(format, head_size, 100);
    found.store(*table, keys, values, 0, 100);
    CHECK_MESSAGE((found.bytes() == expected.bytes()), table->name, ", head size ", head_size);
  }
  for (int i = 0; i < static_cast<int>(n); ++i) {
    check_key(format, expected, keys, head_size, i / head_size, i % head_size);
  }
  return n;
}

TEST_CASE("keys and values are stored alike by every instruction set, and rounded to nearest") {
  std::size_t values = 0;
  Random random(5);
  for (const KvFormat format : kFormats) {
    for (const int head_size : {1, 5, 20, 32, 40, 64, 80, 96, 128, 256}) {
      if (!holds(format, head_size)) continue;
      for (const float size : {1.0F, 0.0F, 1e-7F, 1e-4F, 3e4F, 1e6F, 1e9F}) {
        CAPTURE(size);
        values += check_stores(random, format, head_size, size);
      }
    }
  }
  MESSAGE("checked ", values, " values");
}

TEST_CASE("a block with a NaN or an infinity is stored as NaN") {
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    CAPTURE(std::string(table->name));
    for (const float special :
         {std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
      std::vector<float> key(64, 1.0F);
      key[40] = special;
      KvPages pages(KvFormat::kQ8_0, 64, 1);
      pages.store(*table, key, key, 0, 1);
      CHECK(pages.key(0, 31) == doctest::Approx(1.0).epsilon(1e-3));
      CHECK(std::isnan(pages.key(0, 32)));
      CHECK(std::isnan(pages.value(0, 63)));
      CHECK(pages.value(0, 0) == doctest::Approx(1.0).epsilon(1e-3));
    }
  }
}

TEST_CASE("units cover every position once, and the longest is a small part of its sequence") {
  int checked = 0;
  for (int unit = 0; unit < cpu::kMostUnits; ++unit, ++checked) {
    const int begin = cpu::attention_unit_begin(unit);
    CHECK(begin % cpu::kAttentionChunk == 0);
    CHECK(cpu::attention_units(begin) == unit);
    CHECK(cpu::attention_units(begin + 1) == unit + 1);
    const int size = cpu::attention_unit_begin(unit + 1) - begin;
    CHECK(size <= std::max(cpu::kAttentionChunk, begin / 8));
  }
  CHECK(cpu::attention_units(1 << 26) == cpu::kMostUnits);
  MESSAGE("checked ", checked, " units");
}

}  // namespace
