#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cpu/kernel_cases.hpp"
#include "cpu/unpack_generic.hpp"
#include "quant/reference.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

/// The columns that a format is tested with: tails of the float formats, odd numbers of small blocks.
std::vector<int> column_counts(Format format) {
  const int block = format_info(format).block_weights;
  if (block == 1) return {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 100, 257, 1000};
  if (block == kSmallBlock) return {32, 64, 96, 160, 576, 1056};
  return {256, 512, 768, 2048};
}

/// sum of |scale * quant| + |minimum| times |x|: what rounding errors are relative to.
template <class Traits>
double magnitude(const std::byte* weights, const ActivationRows& x, int row) {
  double sum = 0.0;
  for (int i = 0; i < x.n_cols; i += Traits::block_weights) {
    typename Traits::Block block;
    std::memcpy(&block, weights + static_cast<std::size_t>(i / Traits::block_weights) * sizeof(block), sizeof(block));
    cpu::UnpackedBlock unpacked;
    float value = 0.0F;
    if constexpr (Traits::block_weights == 1) {
      decode_row(Traits::format, reinterpret_cast<const std::byte*>(&block), 1, &value);
    } else {
      cpu::unpack(block, unpacked);
    }
    for (int k = 0; k < Traits::block_weights; ++k) {
      const int g = k / cpu::kGroup;
      const double weight = Traits::block_weights == 1
                                ? std::abs(static_cast<double>(value))
                                : std::abs(static_cast<double>(unpacked.scales[g]) * unpacked.quants[k]) +
                                      std::abs(static_cast<double>(unpacked.minimums[g]));
      sum += weight * x.magnitude(Traits::format, row, i + k);
    }
  }
  return sum;
}

/// A matmul of one table and format.
struct Kernel {
  const cpu::KernelTable* table;
  Format format;
  bool bulk;  // of bulk rows
  [[nodiscard]] auto run() const {
    return (bulk ? table->bulk_matmul : table->matmul)[static_cast<std::size_t>(format_index(format))];
  }
};

double exact_dot(const Kernel& kernel, const std::vector<float>& weights, const ActivationRows& x, int row) {
  double sum = 0.0;
  for (int i = 0; i < x.n_cols; ++i) {
    const double value = kernel.bulk ? x.bulk_value(row, i) : x.value(kernel.format, row, i);
    sum += static_cast<double>(weights[static_cast<std::size_t>(i)]) * value;
  }
  return sum;
}

/// Outputs of every (token, row) and their bounds, from the reference decoder in double precision.
struct Expected {
  std::vector<double> dots;    // [n_rows of x, rows]
  std::vector<double> bounds;  // rounding of n additions in float, each within 2^-24 of the magnitude
};

Expected expected_of(const Kernel& kernel, const Blocks& blocks, int rows, const ActivationRows& x) {
  const Format format = kernel.format;
  Expected expected;
  // The generic table adds one number per weight (float formats) or per group; decode_row and the scales round too.
  // Bulk rows add one number per weight; scales are rounded to the 11 bits of halves and weights to the 8 of bfloat16.
  const bool each = kernel.bulk || format_info(format).block_weights == 1;
  const int additions = 16 + (each ? x.n_cols : x.n_cols / cpu::kGroup);
  const double error = additions * 0x1.0p-24 + (kernel.bulk ? 0x1.0p-8 + 0x1.0p-10 : 0.0);
  std::vector<std::vector<float>> decoded(static_cast<std::size_t>(rows));
  for (int r = 0; r < rows; ++r) {
    std::vector<float>& row = decoded[static_cast<std::size_t>(r)];
    row.resize(static_cast<std::size_t>(x.n_cols));
    decode_row(format, blocks.row(r), row.size(), row.data());
  }
  for (int t = 0; t < x.n_rows; ++t) {
    for (int r = 0; r < rows; ++r) {
      expected.dots.push_back(exact_dot(kernel, decoded[static_cast<std::size_t>(r)], x, t));
      visit(format,
            [&](auto traits) { expected.bounds.push_back(error * magnitude<decltype(traits)>(blocks.row(r), x, t)); });
    }
  }
  return expected;
}

/// A matrix in both of the forms that kernels read.
struct TestMatrix {
  Format format;
  int rows;
  int n_cols;
  Blocks blocks;
  AlignedBuffer<std::byte> panels;

  TestMatrix(Random& random, Format f, int n_rows, int cols, Fill fill)
      : format(f),
        rows(n_rows),
        n_cols(cols),
        blocks(random, f, n_rows, cols, fill),
        panels(panels_of(f, blocks, n_rows, cols)) {}
};

enum class Form { kPanels, kRows };

/// Runs the rows [begin, end) into a poisoned buffer of all rows.
std::vector<float> run_matmul(const Kernel& kernel, const TestMatrix& matrix, Form form, int out_stride,
                              const ActivationRows& x, int begin, int end) {
  std::vector<float> out = poisoned(static_cast<std::size_t>(x.n_rows) * static_cast<std::size_t>(out_stride));
  AlignedBuffer<std::byte> scratch(cpu::panel_bytes(matrix.format, matrix.n_cols));
  AlignedBuffer<float> totals(cpu::matmul_totals(x.n_rows));
  cpu::MatmulArgs args;
  args.rows = matrix.blocks.data();
  args.row_bytes = matrix.blocks.row_bytes();
  args.n_matrix_rows = matrix.rows;
  if (form == Form::kPanels) args.panels = matrix.panels.data();
  args.panel_bytes = scratch.size();
  args.panel_scratch = scratch.data();
  args.totals_scratch = totals.data();
  args.row_begin = begin;
  args.row_end = end;
  args.x = x.view();
  args.out = out.data();
  args.out_stride = static_cast<std::size_t>(out_stride);
  kernel.run()(args);
  return out;
}

std::size_t check_close(const std::vector<float>& out, int stride, int rows, const Expected& expected) {
  std::size_t checked = 0;
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < expected.dots.size(); ++i, ++checked) {
    const std::size_t at =
        i / static_cast<std::size_t>(rows) * static_cast<std::size_t>(stride) + i % static_cast<std::size_t>(rows);
    wrong += std::abs(static_cast<double>(out[at]) - expected.dots[i]) <= expected.bounds[i] ? 0 : 1;
  }
  CHECK(wrong == 0);
  return checked;
}

template <class Visitor>
void for_each_kernel(const Visitor& visitor) {
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    for_each_format([&](auto traits) {
      for (const bool bulk : {false, true}) {
        const Kernel kernel{table, decltype(traits)::format, bulk};
        if (kernel.run() == nullptr) continue;
        const std::string name = std::string(table->name) + " " + decltype(traits)::name + (bulk ? " bulk" : "");
        CAPTURE(name);
        visitor(kernel);
      }
    });
  }
}

constexpr int kRows = 23;  // a full panel and a part of one

TEST_CASE("matmul is within rounding of the reference decoder in double precision") {
  std::size_t checked = 0;
  for_each_kernel([&](const Kernel& kernel) {
    const Format format = kernel.format;
    Random random(1);
    for (const int n_cols : column_counts(format)) {
      CAPTURE(n_cols);
      constexpr int kTokens = 5;
      const TestMatrix matrix(random, format, kRows, n_cols, Fill::kRandom);
      const ActivationRows x(random_floats(random, static_cast<std::size_t>(kTokens) * n_cols), kTokens, n_cols);
      const auto out = run_matmul(kernel, matrix, Form::kPanels, kRows, x, 0, kRows);
      checked += check_close(out, kRows, kRows, expected_of(kernel, matrix.blocks, kRows, x));
    }
  });
  MESSAGE("checked ", checked, " dot products");
}

/// Activations whose quants are all 127, all -127, or of alternating sign.
ActivationRows extreme_activations(int n_cols) {
  std::vector<float> values;
  for (const int pattern : {0, 1, 2, 3}) {
    for (int i = 0; i < n_cols; ++i) {
      const bool negative = pattern == 1 || (pattern == 2 && i % 2 == 0) || (pattern == 3 && i % 16 < 8);
      values.push_back(negative ? -3.0F : 3.0F);
    }
  }
  return {values, 4, n_cols};
}

TEST_CASE("matmul keeps the largest and the smallest quants exact") {
  std::size_t checked = 0;
  for_each_kernel([&](const Kernel& kernel) {
    const Format format = kernel.format;
    Random random(2);
    for (const Fill fill : {Fill::kOnes, Fill::kZeros, Fill::kSign}) {
      const int n_cols = column_counts(format).back();
      const TestMatrix matrix(random, format, kRows, n_cols, fill);
      const ActivationRows x = extreme_activations(n_cols);
      const auto out = run_matmul(kernel, matrix, Form::kPanels, kRows, x, 0, kRows);
      checked += check_close(out, kRows, kRows, expected_of(kernel, matrix.blocks, kRows, x));
    }
  });
  MESSAGE("checked ", checked, " dot products");
}

TEST_CASE("with quantised weights every table gives the same bits") {
  std::size_t checked = 0;
  for_each_kernel([&](const Kernel& kernel) {
    const Format format = kernel.format;
    if (kernel.bulk || !cpu::reads_quantized_activations(format)) return;
    Random random(6);
    for (const Fill fill : {Fill::kRandom, Fill::kOnes, Fill::kSign}) {
      for (const int n_cols : column_counts(format)) {
        CAPTURE(n_cols);
        constexpr int kTokens = 15;
        const TestMatrix matrix(random, format, kRows, n_cols, fill);
        const ActivationRows x(random_floats(random, static_cast<std::size_t>(kTokens) * n_cols), kTokens, n_cols);
        const auto expected =
            run_matmul({&cpu::generic_kernels(), format, false}, matrix, Form::kRows, kRows, x, 0, kRows);
        const auto found = run_matmul(kernel, matrix, Form::kPanels, kRows, x, 0, kRows);
        CHECK(same_bits(found.data(), expected.data(), expected.size()));
        checked += expected.size();
      }
    }
  });
  MESSAGE("compared ", checked, " dot products");
}

/// Whether rows [begin, end) equal those of `whole`, bit for bit, and all others are poison.
bool matches_part(const std::vector<float>& part, const std::vector<float>& whole, int stride, int first, int begin,
                  int end) {
  const std::size_t shift = static_cast<std::size_t>(first) * static_cast<std::size_t>(stride);
  for (std::size_t i = 0; i < part.size(); ++i) {
    const int row = static_cast<int>(i % static_cast<std::size_t>(stride));
    const bool inside = row >= begin && row < end;
    if (inside ? !same_bits(&part[i], &whole[shift + i], 1) : !is_poison(part[i])) return false;
  }
  return true;
}

TEST_CASE("a dot product has the same bits however rows and tokens are cut, and nothing else is written") {
  std::size_t cuts = 0;
  std::size_t wrong = 0;
  for_each_kernel([&](const Kernel& kernel) {
    const Format format = kernel.format;
    Random random(3);
    constexpr int kTokens = 37;                          // two tiles of bulk rows and a part of one
    constexpr int kManyRows = 10 * cpu::kPanelRows + 5;  // more panels than a round has
    constexpr int kStride = kManyRows + 3;
    const std::vector<int> columns = column_counts(format);
    const int n_cols = columns[columns.size() - 2];
    const TestMatrix matrix(random, format, kManyRows, n_cols, Fill::kRandom);
    const ActivationRows x(random_floats(random, static_cast<std::size_t>(kTokens) * n_cols), kTokens, n_cols);
    const auto whole = run_matmul(kernel, matrix, Form::kPanels, kStride, x, 0, kManyRows);
    for (int count = 1; count <= kTokens; ++count) {
      const int first = kTokens - count;
      const ActivationRows some = x.part(first, count);
      for (const Form form : {Form::kPanels, Form::kRows}) {
        for (const auto& [begin, end] :
             {std::pair(0, kManyRows), std::pair(0, 16), std::pair(32, 32), std::pair(144, kManyRows)}) {
          const auto part = run_matmul(kernel, matrix, form, kStride, some, begin, end);
          wrong += matches_part(part, whole, kStride, first, begin, end) ? 0 : 1;
          ++cuts;
        }
      }
    }
    CHECK(wrong == 0);
  });
  MESSAGE("compared ", cuts, " cuts");
}

TEST_CASE("a NaN activation makes its whole token NaN and no other") {
  for_each_kernel([](const Kernel& kernel) {
    const Format format = kernel.format;
    Random random(4);
    const int n_cols = column_counts(format)[1];
    const TestMatrix matrix(random, format, 3, n_cols, Fill::kRandom);
    std::vector<float> values = random_floats(random, std::size_t{2} * n_cols);
    values[0] = std::nanf("");
    const ActivationRows x(values, 2, n_cols);
    const auto out = run_matmul(kernel, matrix, Form::kPanels, 3, x, 0, 3);
    CHECK(std::all_of(out.begin(), out.begin() + 3, [](float y) { return std::isnan(y); }));
    CHECK(std::none_of(out.begin() + 3, out.end(), [](float y) { return std::isnan(y); }));
  });
}

TEST_CASE("a NaN scale makes its whole row NaN and no other") {
  for_each_kernel([](const Kernel& kernel) {
    const Format format = kernel.format;
    if (!cpu::reads_quantized_activations(format)) return;
    Random random(8);
    const int n_cols = 2 * format_info(format).block_weights;
    TestMatrix matrix(random, format, 3, n_cols, Fill::kRandom);
    // The scales of a panel's first blocks stand behind the bodies of its two blocks, a half for each row.
    visit(format, [&](auto traits) {
      using Traits = decltype(traits);
      if constexpr (Traits::block_weights > 1) {
        const std::uint16_t not_a_number = 0x7E00;
        std::memcpy(matrix.panels.data() + 2 * cpu::kBodyBytes<Traits> + sizeof(not_a_number), &not_a_number,
                    sizeof(not_a_number));
      }
    });
    const ActivationRows x(random_floats(random, static_cast<std::size_t>(n_cols)), 1, n_cols);
    if (!kernel.table->reads_panels) return;
    const auto out = run_matmul(kernel, matrix, Form::kPanels, 3, x, 0, 3);
    CHECK(std::isnan(out[1]));
    CHECK_FALSE(std::isnan(out[0]));
    CHECK_FALSE(std::isnan(out[2]));
  });
}

TEST_CASE("unpacked blocks are the decoded weights") {
  std::size_t checked = 0;
  for_each_format([&](auto traits) {
    using Traits = decltype(traits);
    if constexpr (Traits::block_weights > 1) {
      Random random(5);
      for (int i = 0; i < 50; ++i) {
        const Blocks blocks(random, Traits::format, 1, Traits::block_weights, Fill::kRandom);
        typename Traits::Block block;
        std::memcpy(&block, blocks.data(), sizeof(block));
        cpu::UnpackedBlock unpacked;
        cpu::unpack(block, unpacked);
        std::vector<float> decoded(Traits::block_weights);
        decode_row(Traits::format, blocks.data(), decoded.size(), decoded.data());
        for (std::size_t k = 0; k < decoded.size(); ++k, ++checked) {
          const std::size_t g = k / cpu::kGroup;
          const double value = static_cast<double>(unpacked.scales[g]) * unpacked.quants[k] + unpacked.minimums[g];
          const double size = std::abs(value) + std::abs(static_cast<double>(unpacked.minimums[g]));
          REQUIRE(std::abs(value - static_cast<double>(decoded[k])) <= 0x1.0p-22 * size);
        }
      }
    }
  });
  MESSAGE("checked ", checked, " weights");
}

}  // namespace
