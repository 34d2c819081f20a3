// Inputs for kernel tests: blocks of every format, activations, guarded outputs.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "cpu/cpu_isa.hpp"
#include "cpu/kernel_table.hpp"
#include "quant/formats.hpp"
#include "support/blocks.hpp"

namespace inlay::test {

/// The same rows as panels.
AlignedBuffer<std::byte> panels_of(Format format, const Blocks& blocks, int rows, int n_cols);

/// To nearest, ties to even.
std::uint16_t to_bfloat16(float x);
float from_bfloat16(std::uint16_t bits);

/// Where a bulk row has column `col` of a block.
constexpr int bulk_place(int col) { return col / 4 * 4 + (col % 4 == 1 ? 2 : col % 4 == 2 ? 1 : col % 4); }

/// Rows of floats, what the generic table makes of them, and the same rounded to bfloat16 as bulk rows.
struct ActivationRows {
  std::vector<float> values;
  AlignedBuffer<cpu::ActivationBlock> blocks;
  AlignedBuffer<cpu::BulkBlock> bulk;  // the free rows of the last tile are NaN
  int n_rows = 0;
  int n_cols = 0;

  ActivationRows(std::vector<float> x, int rows, int cols);
  [[nodiscard]] cpu::Activations view() const { return {values.data(), blocks.data(), bulk.data(), n_rows, n_cols}; }
  /// Rows [first, first + count) alone.
  [[nodiscard]] ActivationRows part(int first, int count) const;
  /// The value that a kernel of `format` reads.
  [[nodiscard]] double value(Format format, int row, int col) const;
  [[nodiscard]] double bulk_value(int row, int col) const;
  /// The size of what the value is the sum of, which rounding errors are relative to.
  [[nodiscard]] double magnitude(Format format, int row, int col) const;

 private:
  [[nodiscard]] std::size_t offset(int row, int col) const {
    return static_cast<std::size_t>(row) * static_cast<std::size_t>(n_cols) + static_cast<std::size_t>(col);
  }
  [[nodiscard]] const cpu::ActivationBlock& block(int row, int col) const;
  [[nodiscard]] std::size_t bulk_index(int row, int col) const;
};

/// A NaN that no kernel makes.
inline constexpr std::uint32_t kPoison = 0x7FADBEEFU;

inline std::vector<float> poisoned(std::size_t n) { return std::vector<float>(n, std::bit_cast<float>(kPoison)); }
inline bool is_poison(float x) { return std::bit_cast<std::uint32_t>(x) == kPoison; }

inline bool same_bits(const float* a, const float* b, std::size_t n) {
  return std::memcmp(a, b, n * sizeof(float)) == 0;
}

}  // namespace inlay::test
