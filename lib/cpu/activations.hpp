// Rows of activations as the matmul kernels read them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inlay::cpu {

/// Activations are quantised in blocks of 32 whose 255 steps span the block's own range, not a range symmetric around
/// zero: where one large value stands alone, as in most blocks with outliers, the steps are half as wide. Together with
/// the small block this is where the fidelity comes from (README.md has the figures).
inline constexpr int kActivationBlock = 32;

/// A block with a smaller scale counts as zeros, so that the inverse of the scale is finite.
inline constexpr float kSmallestScale = 0x1p-107F;

/// 32 activations in a cache line: value[i] = scale * (quants[i] - zero), with a whole `zero`, so that zeros stay
/// zeros. A block with a NaN or an infinity has quants and a zero of 0 and a NaN scale and sums, so that every product
/// with it is NaN.
struct alignas(64) ActivationBlock {
  float scale = 0.0F;
  float sum = 0.0F;                           // of the quantised values, for formats with minimums
  float half_sums[2] = {};                    // of 16 of them
  std::int32_t zero = 0;                      // in [-127, 127]
  std::int32_t correction = 0;                // two int16: -zero, and in the upper half -sum of (quants[i] - zero)
  std::int32_t half_corrections[2] = {};      // the same for 16 of them
  std::int8_t quants[kActivationBlock] = {};  // in [-127, 127]
};
static_assert(sizeof(ActivationBlock) == 64);

/// Tokens that a kernel takes at once: the blocks of a tile of tokens lie together, so that a kernel walks one stream.
inline constexpr int kTokenTile = 16;

/// Activations of bulk rows are kept times this: weights lie in a lower range of bfloat16, and products shall be
/// normal. An activation of more than 2^79 becomes an infinity.
inline constexpr float kBulkScale = 0x1p48F;

/// 32 activations of a bulk row (RowKind) in a cache line, as bfloat16. Of every four columns the inner two change
/// places: 0, 2, 1, 3, 4, 6, 5, 7 ...
struct alignas(64) BulkBlock {
  std::uint16_t values[kActivationBlock] = {};
};
static_assert(sizeof(BulkBlock) == 64);

/// Bulk rows lie in tiles of so many; the last tile is as large as the others, and what its free rows hold is of no
/// consequence.
inline constexpr int kBulkTile = 16;

/// Blocks from one tile to the next. Those of one column more than there are: a power of two of columns would put the
/// tiles into the same sets of the second-level cache. Always inlined, as block_row is.
[[nodiscard]] __attribute__((always_inline)) constexpr std::size_t bulk_tile_blocks(int n_cols) {
  return static_cast<std::size_t>(n_cols / kActivationBlock + 1) * kBulkTile;
}

/// Blocks of n_rows bulk rows.
[[nodiscard]] constexpr std::size_t bulk_blocks(int n_rows, int n_cols) {
  return static_cast<std::size_t>((n_rows + kBulkTile - 1) / kBulkTile) * bulk_tile_blocks(n_cols);
}

/// Rows of a forward pass. Of the forms a matmul reads the one that it and its weight format want.
struct Activations {
  const float* values = nullptr;            // [n_rows, n_cols]
  const ActivationBlock* blocks = nullptr;  // [tile][n_cols / 32][rows of the tile]; tiles have kTokenTile rows, the
                                            // last one what is left
  const BulkBlock* bulk = nullptr;          // [tile of bulk_tile_blocks][n_cols / 32][kBulkTile]
  int n_rows = 0;
  int n_cols = 0;
};

/// Where a row's blocks lie: block b at `first + b * stride`.
struct BlockRow {
  std::size_t first = 0;
  std::size_t stride = 0;
};
/// Always inlined: the code of instruction sets may not leave a copy of it to the linker (isa_code.hpp).
[[nodiscard]] __attribute__((always_inline)) constexpr BlockRow block_row(int row, int n_rows, int n_cols) {
  const int tile = row / kTokenTile * kTokenTile;
  const int width = n_rows - tile < kTokenTile ? n_rows - tile : kTokenTile;
  const auto blocks = static_cast<std::size_t>(n_cols / kActivationBlock);
  return {static_cast<std::size_t>(tile) * blocks + static_cast<std::size_t>(row - tile),
          static_cast<std::size_t>(width)};
}

}  // namespace inlay::cpu
