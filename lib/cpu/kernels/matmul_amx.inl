// Matrix tiles of 16 tokens x 16 rows with AMX: the integer part of kernels/matmul.inl in one instruction for a group
// of columns. Integers are exact and floats go through the same add_block, so results are those of the other shapes, to
// the bit. Panels have the layout that the instruction wants: four columns of 16 rows in a line.
//
// Of an unpacked chunk 32 columns of weights are read as tile B [8][16 rows x 4 columns], the quants of 16 tokens,
// which lie a cache line apart, as tile A [16][32]. What the vector units still do per output and block: correct,
// convert, scale and add.
#pragma once

#include <immintrin.h>

#include "cpu/isa_code.hpp"
#include "cpu/kernels/matmul.inl"

namespace inlay::cpu {
namespace {

constexpr int kTileTokens = 16;
static_assert(kTokenTile == kTileTokens);

/// What LDTILECFG reads. Source: Intel's manual, volume 1, chapter "Programming with Intel AMX".
struct alignas(64) TileShapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64);

constexpr int kGroupColumns = 32;

/// Whether the weights of a format come in groups of that many columns.
template <class Format>
INLAY_INLINE constexpr bool reads_tiles() {
  if constexpr (Format::block_weights == 1)
    return false;
  else
    return Panel<Format>::kGroup == kGroupColumns;
}

/// Tiles 0 ... 3: dot products, 4 and 5: activations, 6 and 7: weights.
INLAY_INLINE void configure_tiles() {
  TileShapes shapes;
  for (int i = 0; i < 8; ++i) {
    shapes.row_bytes[i] = i == 4 || i == 5 ? kGroupColumns : 64;
    shapes.rows[i] = i < 6 ? kTileTokens : kGroupColumns / 4;
  }
  _tile_loadconfig(&shapes);
}

/// The dot products of one group of columns: [16 tokens][16 rows].
using GroupDots = std::int32_t[kTileTokens][kPanelRows];

/// The instructions name their tiles, so neighbouring groups must be written out to use different ones.
INLAY_INLINE void multiply_group_even(const std::int8_t* x, const std::uint8_t* weights, GroupDots& dots) {
  _tile_zero(0);
  _tile_loadd(4, x, sizeof(ActivationBlock));
  _tile_loadd(6, weights, kPlaneBytes);
  _tile_dpbsud(0, 4, 6);
  _tile_stored(0, dots, sizeof(dots[0]));
}
INLAY_INLINE void multiply_group_odd(const std::int8_t* x, const std::uint8_t* weights, GroupDots& dots) {
  _tile_zero(1);
  _tile_loadd(5, x, sizeof(ActivationBlock));
  _tile_loadd(7, weights, kPlaneBytes);
  _tile_dpbsud(1, 5, 7);
  _tile_stored(1, dots, sizeof(dots[0]));
}

/// All blocks of 32 columns of a chunk.
INLAY_INLINE void multiply_blocks(const Chunk& chunk, int n, const ActivationBlock* x, GroupDots* dots) {
  int j = 0;
  for (; j + 2 <= n; j += 2, x += 2 * kTileTokens) {
    multiply_group_even(x[0].quants, chunk.quants[j * kSteps], dots[j]);
    multiply_group_odd(x[kTileTokens].quants, chunk.quants[(j + 1) * kSteps], dots[j + 1]);
  }
  if (j < n) multiply_group_even(x[0].quants, chunk.quants[j * kSteps], dots[j]);
}

/// 16 tokens: n blocks of 32 columns are added to the totals in memory, [kTileTokens][kPanelRows].
template <class Isa, class U>
void tile_of_tokens(const Chunk& chunk, int n, const ActivationBlock* x, bool first, float* sums) {
  static_assert(U::P::kGroup == kGroupColumns);
  constexpr int kHalf = kTileTokens / 2;  // totals that stay in registers with their scales
  alignas(64) GroupDots dots[kChunkColumns / 32];
  multiply_blocks(chunk, n, x, dots);
  for (int half = 0; half < kTileTokens; half += kHalf) {
    typename Isa::Vec totals[kHalf];
    unroll<kHalf>([&](auto t) INLAY_INLINE_LAMBDA {
      totals[t.value] = first ? Isa::zero() : Isa::load(sums + (half + t.value) * kPanelRows);
    });
    for (int j = 0; j < n; ++j) {
      const auto scales = load_scales<Isa, U>(chunk.scales[j], chunk.minimums[j]);
      const auto counts = Isa::load_bytes(chunk.counts[j]);
      const ActivationBlock* tokens = x + j * kTileTokens + half;
      unroll<kHalf>([&](auto t) INLAY_INLINE_LAMBDA {
        const __m512i products = Isa::load_bytes(dots[j][half + t.value]);
        const __m512i corrected = _mm512_dpwssd_epi32(products, counts, _mm512_set1_epi32(tokens[t.value].correction));
        const typename Isa::Vec floats[1] = {Isa::to_floats(corrected)};
        totals[t.value] = add_block<Isa, U>(scales, floats, tokens[t.value], totals[t.value]);
      });
    }
    unroll<kHalf>([&](auto t)
                      INLAY_INLINE_LAMBDA { Isa::store(sums + (half + t.value) * kPanelRows, totals[t.value]); });
  }
}

}  // namespace
}  // namespace inlay::cpu
