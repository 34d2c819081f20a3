#include "cpu/kernel_cases.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/half.hpp"

namespace inlay::test {
AlignedBuffer<std::byte> panels_of(Format format, const Blocks& blocks, int rows, int n_cols) {
  AlignedBuffer<std::byte> panels(cpu::panels_bytes(format, rows, n_cols));
  const std::size_t bytes = cpu::panel_bytes(format, n_cols);
  for (int row = 0; row < rows; row += cpu::kPanelRows) {
    cpu::pack_panel(format, blocks.row(row), blocks.row_bytes(), std::min(cpu::kPanelRows, rows - row), n_cols,
                    panels.data() + static_cast<std::size_t>(row / cpu::kPanelRows) * bytes);
  }
  return panels;
}

std::uint16_t to_bfloat16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (std::isnan(x)) return static_cast<std::uint16_t>(bits >> 16U | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U);
}

float from_bfloat16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U); }

ActivationRows::ActivationRows(std::vector<float> x, int rows, int cols)
    : values(std::move(x)), n_rows(rows), n_cols(cols) {
  if (cols % cpu::kActivationBlock != 0) return;  // float formats only
  blocks = AlignedBuffer<cpu::ActivationBlock>(values.size() / cpu::kActivationBlock);
  for (int row = 0; row < rows; ++row) {
    const cpu::BlockRow at = cpu::block_row(row, rows, cols);
    cpu::generic_kernels().quantize(&values[offset(row, 0)], cols, blocks.data() + at.first, at.stride);
  }
  const int n_tiles = (rows + cpu::kBulkTile - 1) / cpu::kBulkTile;
  bulk = AlignedBuffer<cpu::BulkBlock>(cpu::bulk_blocks(rows, cols));
  for (int row = 0; row < n_tiles * cpu::kBulkTile; ++row) {
    for (int col = 0; col < cols; ++col) {
      bulk[bulk_index(row, col)].values[bulk_place(col % cpu::kActivationBlock)] =
          row < rows ? to_bfloat16(values[offset(row, col)] * cpu::kBulkScale) : std::uint16_t{0x7FC0};
    }
  }
}

std::size_t ActivationRows::bulk_index(int row, int col) const {
  return static_cast<std::size_t>(row / cpu::kBulkTile) * cpu::bulk_tile_blocks(n_cols) +
         static_cast<std::size_t>(col / cpu::kActivationBlock * cpu::kBulkTile + row % cpu::kBulkTile);
}

double ActivationRows::bulk_value(int row, int col) const {
  const std::uint16_t rounded = bulk[bulk_index(row, col)].values[bulk_place(col % cpu::kActivationBlock)];
  return from_bfloat16(rounded) / cpu::kBulkScale;
}

ActivationRows ActivationRows::part(int first, int count) const {
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(offset(first, 0));
  return {{begin, begin + static_cast<std::ptrdiff_t>(offset(count, 0))}, count, n_cols};
}

const cpu::ActivationBlock& ActivationRows::block(int row, int col) const {
  const cpu::BlockRow at = cpu::block_row(row, n_rows, n_cols);
  return blocks[at.first + static_cast<std::size_t>(col / cpu::kActivationBlock) * at.stride];
}

double ActivationRows::value(Format format, int row, int col) const {
  if (!cpu::reads_quantized_activations(format)) return values[offset(row, col)];
  const cpu::ActivationBlock& found = block(row, col);
  return static_cast<double>(found.scale) * (found.quants[col % cpu::kActivationBlock] - found.zero);
}

double ActivationRows::magnitude(Format format, int row, int col) const { return std::abs(value(format, row, col)); }

}  // namespace inlay::test
