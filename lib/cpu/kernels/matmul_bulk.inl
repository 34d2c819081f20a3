// Panels of weights times many tokens with AMX: weights and activations are rounded to bfloat16, products and sums are
// floats inside of the matrix unit. An output's products are added in the order of the columns, whatever the other
// tokens and rows are: the result does not depend on how the work is cut.
//
// For every 256 columns two panels are unpacked into the first-level cache as tiles B, [16 pairs of columns][16 rows x
// 2 columns]; then all tokens pass, 32 at a time: two tiles A [16 tokens][32 columns] times two tiles B.
// Source of the instructions: Intel's manual, volume 1, chapter "Programming with Intel AMX".
#pragma once

#include <immintrin.h>

#include "cpu/isa_code.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/kernels/matmul.inl"

namespace inlay::cpu {
namespace {

constexpr int kBulkColumns = 256;  // of two panels: 16 KB, and the same of 32 tokens
constexpr int kBulkBlocks = kBulkColumns / kActivationBlock;
static_assert(kBulkTile == kPanelRows);

constexpr std::size_t kTileFloats = std::size_t{kBulkTile} * kPanelRows;  // of a tile of sums

/// Of 16 rows and 32 columns, as a tile is loaded.
struct alignas(64) WeightTile {
  std::uint16_t pairs[16][2 * kPanelRows];
};

/// What LDTILECFG reads.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64);

/// The thread's tiles while they are needed: all full.
class TilesInUse {
 public:
  TilesInUse() {
    TileShapes shapes;
    for (int i = 0; i < 8; ++i) {
      shapes.row_bytes[i] = 64;
      shapes.rows[i] = 16;
    }
    _tile_loadconfig(&shapes);
  }
  ~TilesInUse() { _tile_release(); }  // or every switch of threads would save the tiles
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;
};

/// Rounds to bfloat16, to nearest (ties away from zero), and puts `odd` beside `even`.
INLAY_INLINE __m512i pair_bfloat16(__m512 even, __m512 odd) {
  const __m512i half = _mm512_set1_epi32(0x8000);
  const __m512i upper_words = _mm512_set_epi16(63, 31, 61, 29, 59, 27, 57, 25, 55, 23, 53, 21, 51, 19, 49, 17, 47, 15,
                                               45, 13, 43, 11, 41, 9, 39, 7, 37, 5, 35, 3, 33, 1);
  return _mm512_permutex2var_epi16(_mm512_add_epi32(_mm512_castps_si512(even), half), upper_words,
                                   _mm512_add_epi32(_mm512_castps_si512(odd), half));
}

/// Column kColumn of the four that each lane holds, as floats.
template <int kColumn>
INLAY_INLINE __m512 column_of(__m512i quants) {
  if constexpr (kColumn > 0) quants = _mm512_srli_epi32(quants, 8 * kColumn);
  if constexpr (kColumn < 3) quants = _mm512_and_si512(quants, _mm512_set1_epi32(0xFF));
  return _mm512_cvtepi32_ps(quants);
}

/// Unpacks the blocks [block, block + n) of 32 columns.
template <class Isa, class U>
INLAY_INLINE void unpack_bulk(const std::byte* panel, int n_cols, int block, int n, WeightTile* tiles) {
  using Format = typename U::Format;
  using P = typename U::P;
  constexpr int kBlocks = Format::block_weights / 32;
  constexpr int kGroups = 32 / P::kGroup;
  const std::byte* halves = panel + offset_of(n_cols / Format::block_weights, kBodyBytes<Format>) +
                            offset_of(block / kBlocks, kHalvesBytes<Format>);
  const std::byte* body = panel + offset_of(block / kBlocks, kBodyBytes<Format>);
  for (int first = 0; first < n; first += kBlocks, body += kBodyBytes<Format>, halves += kHalvesBytes<Format>) {
    prefetch<kBodyBytes<Format>>(body, kBodyBytes<Format> * (kBulkColumns / Format::block_weights));  // the next chunk
    alignas(64) float scales[kBlocks * kGroups * kPanelRows];
    alignas(64) float minimums[kBlocks * kGroups * kPanelRows];
    read_scales<Isa, Format>(body, halves, 0, scales, minimums);
    const std::byte* planes = body + Panel<Format>::kScaleBytes * kPanelRows;
    for (int j = 0; j < kBlocks; ++j, ++tiles, planes += P::kStepBytes) {
      unroll<kSteps>([&](auto s) INLAY_INLINE_LAMBDA {
        const std::size_t group = offset_of(j * kGroups + s.value * kGroups / kSteps, kPanelRows);
        const __m512 scale = _mm512_load_ps(scales + group);
        __m512 minimum;
        if constexpr (P::kMinimums)
          minimum = _mm512_load_ps(minimums + group);
        else
          minimum = _mm512_mul_ps(scale, _mm512_set1_ps(static_cast<float>(-P::kZero)));
        const __m512i quants = U::template quants<s.value>(planes);
        const auto weights = [&](auto column) INLAY_INLINE_LAMBDA {
          return _mm512_fmadd_ps(column_of<column.value>(quants), scale, minimum);
        };
        _mm512_store_si512(tiles->pairs[2 * s.value], pair_bfloat16(weights(Index<0>{}), weights(Index<1>{})));
        _mm512_store_si512(tiles->pairs[2 * s.value + 1], pair_bfloat16(weights(Index<2>{}), weights(Index<3>{})));
      });
    }
  }
}

// Tiles 0 ... 3: sums, of the first panel (0, 2) and the second (1, 3), of the first 16 tokens (0, 1) and the second
// (2, 3). 4 and 5: activations, 6 and 7: weights. The instructions name their tiles, so each is written out.

constexpr std::size_t kTileLine = 64;

/// From `sums` [16][kPanelRows], of the first panel; of the second panel `panel_stride` further on; or zeros.
template <bool kTwoTokenTiles, bool kTwoPanels>
INLAY_INLINE void begin_sums(bool zeros, const float* sums, std::size_t panel_stride) {
  if (zeros) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    return;
  }
  _tile_loadd(0, sums, kTileLine);
  if constexpr (kTwoPanels) _tile_loadd(1, sums + panel_stride, kTileLine);
  if constexpr (kTwoTokenTiles) _tile_loadd(2, sums + kTileFloats, kTileLine);
  if constexpr (kTwoPanels && kTwoTokenTiles) _tile_loadd(3, sums + panel_stride + kTileFloats, kTileLine);
}

template <bool kTwoTokenTiles, bool kTwoPanels>
INLAY_INLINE void end_sums(float* sums, std::size_t panel_stride) {
  _tile_stored(0, sums, kTileLine);
  if constexpr (kTwoPanels) _tile_stored(1, sums + panel_stride, kTileLine);
  if constexpr (kTwoTokenTiles) _tile_stored(2, sums + kTileFloats, kTileLine);
  if constexpr (kTwoPanels && kTwoTokenTiles) _tile_stored(3, sums + panel_stride + kTileFloats, kTileLine);
}

/// Adds n blocks to the sums of 16 or 32 tokens and of one or two panels. x: the first block of the tokens, those of
/// the second 16 are x_stride further on.
template <bool kTwoTokenTiles, bool kTwoPanels>
INLAY_INLINE void add_blocks(const WeightTile* weights, int n, const BulkBlock* x, std::size_t x_stride) {
  for (int j = 0; j < n; ++j, x += kBulkTile, ++weights) {
    _tile_loadd(4, x, kTileLine);
    _tile_loadd(6, weights, kTileLine);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoPanels) {
      _tile_loadd(7, weights + kBulkBlocks, kTileLine);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kTwoTokenTiles) {
      _tile_loadd(5, x + x_stride, kTileLine);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (kTwoPanels && kTwoTokenTiles) _tile_dpbf16ps(3, 5, 7);
  }
}

/// n blocks from `block` on, of one or two panels and all tokens.
template <bool kTwoPanels>
INLAY_INLINE void multiply_tokens(const WeightTile* weights, int block, int n, const Activations& x, float* sums,
                                  std::size_t panel_stride) {
  const std::size_t x_stride = offset_of(x.n_cols / kActivationBlock, kBulkTile);  // of 16 tokens
  const BulkBlock* tokens = x.bulk + offset_of(block, kBulkTile);
  int n_tiles = (x.n_rows + kBulkTile - 1) / kBulkTile;
  for (; n_tiles >= 2; n_tiles -= 2, tokens += 2 * x_stride, sums += 2 * kTileFloats) {
    begin_sums<true, kTwoPanels>(block == 0, sums, panel_stride);
    add_blocks<true, kTwoPanels>(weights, n, tokens, x_stride);
    end_sums<true, kTwoPanels>(sums, panel_stride);
  }
  if (n_tiles == 0) return;
  begin_sums<false, kTwoPanels>(block == 0, sums, panel_stride);
  add_blocks<false, kTwoPanels>(weights, n, tokens, x_stride);
  end_sums<false, kTwoPanels>(sums, panel_stride);
}

/// Up to kBulkPanels panels from weight row `row` on: their sums grow chunk by chunk, so that the activations of a
/// chunk stay in the second-level cache for all of them.
template <class Isa, class Format>
INLAY_INLINE void bulk_round(const MatmulArgs& args, int row, int n_panels, WeightTile* tiles) {
  using U = Unpack<Isa, Format>;
  const int n_blocks = args.x.n_cols / kActivationBlock;
  const std::size_t panel_stride = bulk_sums_of_panel(args.x.n_rows);
  const std::byte* panels[kBulkPanels];
  for (int i = 0; i < n_panels; ++i) panels[i] = panel_at<Format>(args, row + i * kPanelRows);
  for (int block = 0; block < n_blocks; block += kBulkBlocks) {
    const int n = n_blocks - block < kBulkBlocks ? n_blocks - block : kBulkBlocks;
    for (int i = 0; i < n_panels; i += 2) {
      float* sums = args.totals_scratch + static_cast<std::size_t>(i) * panel_stride;
      unpack_bulk<Isa, U>(panels[i], args.x.n_cols, block, n, tiles);
      if (i + 1 < n_panels) {
        unpack_bulk<Isa, U>(panels[i + 1], args.x.n_cols, block, n, tiles + kBulkBlocks);
        multiply_tokens<true>(tiles, block, n, args.x, sums, panel_stride);
      } else {
        multiply_tokens<false>(tiles, block, n, args.x, sums, panel_stride);
      }
    }
  }
  for (int token = 0; token < args.x.n_rows; ++token) {
    float* out = args.out + static_cast<std::size_t>(token) * args.out_stride + row;
    const float* sums = args.totals_scratch + offset_of(token, kPanelRows);
    for (int i = 0; i < n_panels; ++i, out += kPanelRows, sums += panel_stride) {
      const auto lanes =
          static_cast<__mmask16>((1U << static_cast<unsigned>(rows_of_panel(args, row + i * kPanelRows))) - 1U);
      _mm512_mask_storeu_ps(out, lanes, _mm512_load_ps(sums));
    }
  }
}

template <class Isa, class Format>
void bulk_matmul(const MatmulArgs& args) {
  const TilesInUse tiles_in_use;
  WeightTile tiles[2 * kBulkBlocks];
  const int n_round = args.panels != nullptr ? kBulkPanels : 1;  // there is memory to pack one
  for (int row = args.row_begin; row < args.row_end; row += n_round * kPanelRows) {
    const int left = (args.row_end - row + kPanelRows - 1) / kPanelRows;
    bulk_round<Isa, Format>(args, row, left < n_round ? left : n_round, tiles);
  }
}

/// n floats, a multiple of 32, into blocks kBulkTile apart.
void round_bulk(const float* x, int n, BulkBlock* out) {
  for (int i = 0; i < n; i += kActivationBlock, out += kBulkTile) {
    const __m512bh rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
    __builtin_memcpy(out->values, &rounded, sizeof(rounded));
  }
}

}  // namespace
}  // namespace inlay::cpu
