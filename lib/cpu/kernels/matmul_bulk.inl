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

// A weight takes the way of half precision to bfloat16: sixteen-bit arithmetic does 32 weights at a time, in the places
// where the tile wants them. Rows are multiplied by a power of two that puts them below 2^15, so that halves hold all
// but the smallest of their weights with 11 bits. A half moved right by three bits is a bfloat16 of 2^-112 times the
// value.

/// What a panel's rows were multiplied by, and what their sums are to be multiplied by.
struct alignas(64) RowFactors {
  float in[kPanelRows];
  float out[kPanelRows];
};

/// The largest |scale byte| and minimum byte of a format; 1 where blocks have one scale.
template <class P>
INLAY_INLINE constexpr float largest_scale() {
  if constexpr (P::kScaleBytes == 0) return 1.0F;
  if constexpr (P::kMinimums) return P::kGroup == 32 ? 63.0F : 15.0F;
  return P::kScaleBytes == 12 ? 32.0F : 128.0F;
}
template <class P>
INLAY_INLINE constexpr float largest_quant() {
  return static_cast<float>(P::kMaxQuant - P::kZero > P::kZero ? P::kMaxQuant - P::kZero : P::kZero);
}

template <class Isa, class Format>
INLAY_INLINE void find_factors(const std::byte* panel, int n_cols, RowFactors& factors) {
  using P = Panel<Format>;
  const int n = n_cols / Format::block_weights;
  const std::byte* halves = panel + offset_of(n, kBodyBytes<Format>);
  __m512 bound = _mm512_set1_ps(0x1p-100F);
  __m512 not_finite = _mm512_setzero_ps();  // NaN if a scale is none: then so are the row's outputs
  for (int i = 0; i < n; ++i, halves += kHalvesBytes<Format>) {
    const __m512 scale = _mm512_abs_ps(Isa::load_half(halves));
    __m512 largest = _mm512_mul_ps(scale, _mm512_set1_ps(largest_scale<P>() * largest_quant<P>()));
    if constexpr (P::kMinimums) {
      const __m512 minimum = _mm512_abs_ps(Isa::load_half(halves + 2 * kPanelRows));
      largest = _mm512_fmadd_ps(minimum, _mm512_set1_ps(largest_scale<P>()), largest);
    }
    bound = _mm512_max_ps(bound, largest);
    not_finite = _mm512_fmadd_ps(largest, _mm512_setzero_ps(), not_finite);
  }
  const __m512 exponent = _mm512_getexp_ps(_mm512_add_ps(bound, not_finite));
  const __m512 one = _mm512_set1_ps(1.0F);
  _mm512_store_ps(factors.in, _mm512_scalef_ps(one, _mm512_sub_ps(_mm512_set1_ps(14.0F), exponent)));
  // 2^112 of the bfloat16 and 2^-48 of the activations
  _mm512_store_ps(factors.out, _mm512_scalef_ps(one, _mm512_add_ps(exponent, _mm512_set1_ps(112.0F - 48.0F - 14.0F))));
}
static_assert(kBulkScale == 0x1p48F);

/// The rows' floats as halves, each twice: beside two columns of weights.
INLAY_INLINE __m512h halves_twice(__m512 x) {
  const __m512i halves = _mm512_cvtepu16_epi32(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  return _mm512_castsi512_ph(_mm512_or_si512(halves, _mm512_slli_epi32(halves, 16)));
}

/// Moved right by three bits, rounded to nearest (ties away from zero), the sign kept at its place.
INLAY_INLINE __m512i to_bfloat16(__m512h x) {
  const __m512i moved = _mm512_mulhrs_epi16(_mm512_castph_si512(x), _mm512_set1_epi16(0x1000));
  return _mm512_and_si512(moved, _mm512_set1_epi16(static_cast<short>(0x8FFF)));
}

/// The weights of the blocks [block, block + n) of 32 columns.
template <class Isa, class U>
INLAY_INLINE void unpack_bulk(const std::byte* panel, const RowFactors& factors, int n_cols, int block, int n,
                              WeightTile* tiles) {
  using Format = typename U::Format;
  using P = typename U::P;
  constexpr int kBlocks = Format::block_weights / 32;
  constexpr int kGroups = 32 / P::kGroup;
  const std::byte* halves = panel + offset_of(n_cols / Format::block_weights, kBodyBytes<Format>) +
                            offset_of(block / kBlocks, kHalvesBytes<Format>);
  const std::byte* body = panel + offset_of(block / kBlocks, kBodyBytes<Format>);
  const __m512 factor = _mm512_load_ps(factors.in);
  for (int first = 0; first < n; first += kBlocks, body += kBodyBytes<Format>, halves += kHalvesBytes<Format>) {
    prefetch<kBodyBytes<Format>>(body, kBodyBytes<Format> * (kBulkColumns / Format::block_weights));  // the next chunk
    alignas(64) float scales[kBlocks * kGroups * kPanelRows];
    alignas(64) float minimums[kBlocks * kGroups * kPanelRows];
    read_scales<Isa, Format>(body, halves, 0, scales, minimums);
    const std::byte* planes = body + Panel<Format>::kScaleBytes * kPanelRows;
    for (int j = 0; j < kBlocks; ++j, ++tiles, planes += P::kStepBytes) {
      __m512h scale[kGroups];
      __m512h minimum[kGroups];
      unroll<kGroups>([&](auto g) INLAY_INLINE_LAMBDA {
        const std::size_t group = offset_of(j * kGroups + g.value, kPanelRows);
        scale[g.value] = halves_twice(_mm512_mul_ps(_mm512_load_ps(scales + group), factor));
        if constexpr (P::kMinimums)
          minimum[g.value] = halves_twice(_mm512_mul_ps(_mm512_load_ps(minimums + group), factor));
        else  // exact: the zeros are powers of two
          minimum[g.value] = _mm512_mul_ph(scale[g.value], _mm512_set1_ph(static_cast<_Float16>(-P::kZero)));
      });
      unroll<kSteps>([&](auto s) INLAY_INLINE_LAMBDA {
        constexpr int kOfGroup = s.value * kGroups / kSteps;
        const __m512i quants = U::template quants<s.value>(planes);
        const auto weights = [&](__m512i words) INLAY_INLINE_LAMBDA {
          return to_bfloat16(_mm512_fmadd_ph(_mm512_cvtepu16_ph(words), scale[kOfGroup], minimum[kOfGroup]));
        };
        // columns 0 and 2 of the four, then 1 and 3, as in BulkBlock
        _mm512_store_si512(tiles->pairs[2 * s.value], weights(_mm512_and_si512(quants, _mm512_set1_epi16(0xFF))));
        _mm512_store_si512(tiles->pairs[2 * s.value + 1], weights(_mm512_srli_epi16(quants, 8)));
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
  const std::size_t x_stride = bulk_tile_blocks(x.n_cols);
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
  RowFactors factors[kBulkPanels];
  for (int i = 0; i < n_panels; ++i) {
    panels[i] = panel_at<Format>(args, row + i * kPanelRows);
    find_factors<Isa, Format>(panels[i], args.x.n_cols, factors[i]);
  }
  for (int block = 0; block < n_blocks; block += kBulkBlocks) {
    const int n = n_blocks - block < kBulkBlocks ? n_blocks - block : kBulkBlocks;
    for (int i = 0; i < n_panels; i += 2) {
      float* sums = args.totals_scratch + static_cast<std::size_t>(i) * panel_stride;
      unpack_bulk<Isa, U>(panels[i], factors[i], args.x.n_cols, block, n, tiles);
      if (i + 1 < n_panels) {
        unpack_bulk<Isa, U>(panels[i + 1], factors[i + 1], args.x.n_cols, block, n, tiles + kBulkBlocks);
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
      _mm512_mask_storeu_ps(out, lanes, _mm512_mul_ps(_mm512_load_ps(sums), _mm512_load_ps(factors[i].out)));
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
  const __m512 scale = _mm512_set1_ps(kBulkScale);
  const auto scaled = [&](int i) INLAY_INLINE_LAMBDA { return _mm512_mul_ps(_mm512_loadu_ps(x + i), scale); };
  for (int i = 0; i < n; i += kActivationBlock, out += kBulkTile) {
    const __m512bh rounded = _mm512_cvtne2ps_pbh(scaled(i + 16), scaled(i));
    __m512i words;
    __builtin_memcpy(&words, &rounded, sizeof(words));
    constexpr int kSwapped = 0xD8;  // 0, 2, 1, 3
    _mm512_store_si512(out->values, _mm512_shufflehi_epi16(_mm512_shufflelo_epi16(words, kSwapped), kSwapped));
  }
}

}  // namespace
}  // namespace inlay::cpu
