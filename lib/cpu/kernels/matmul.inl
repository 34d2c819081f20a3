// Panels of weights times tokens of activations. Rows are lanes: a register holds an output of each of kLanes rows.
//
// To every output the same operations are applied in the same order, block after block of 32 columns, whichever of the
// shapes below computes it: integers are exact, floats go through add_block. So a result does not depend on how the
// work is cut.
//   one token     weights go from the panel through registers; the panel is read at the speed of memory
//   more tokens   256 columns of a panel are unpacked into the first-level cache, then all tokens pass, a tile at a
//   time
#pragma once

#include "cpu/isa_code.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/kernels/unpack.inl"

namespace inlay::cpu {
namespace {

constexpr int kChunkColumns = 256;  // of a panel that are unpacked at a time
constexpr std::size_t kPrefetchBytes = 4096;

template <class Isa>
inline constexpr int kParts = kPanelRows / Isa::kLanes;

/// 256 columns of a panel.
struct alignas(64) Chunk {
  std::uint8_t quants[kChunkColumns / 4][kPlaneBytes];
  std::int32_t counts[kMaxGroups][kPanelRows];  // sums of a group's quants; in the upper half the format's zero
  float scales[kMaxGroups][kPanelRows];
  float minimums[kMaxGroups][kPanelRows];
};

/// The scales and minimums of kLanes rows for 32 columns: one group, or two.
template <class Isa>
struct BlockScales {
  typename Isa::Vec scales[2];
  typename Isa::Vec minimums[2];
};

template <class Isa, class U>
INLAY_INLINE BlockScales<Isa> load_scales(const float* scales, const float* minimums) {
  BlockScales<Isa> block;
  constexpr int kGroups = 32 / U::P::kGroup;
  unroll<kGroups>([&](auto g) INLAY_INLINE_LAMBDA {
    block.scales[g.value] = Isa::load(scales + g.value * kPanelRows);
    if constexpr (U::P::kMinimums) block.minimums[g.value] = Isa::load(minimums + g.value * kPanelRows);
  });
  return block;
}

/// total + what 32 columns add to it; dots[g]: of group g, as floats.
template <class Isa, class U, class Dots>
INLAY_INLINE typename Isa::Vec add_block(const BlockScales<Isa>& block, const Dots& dots, const ActivationBlock& x,
                                         typename Isa::Vec total) {
  if constexpr (U::P::kGroup == 32) {
    total = Isa::fma(dots[0], Isa::mul(block.scales[0], Isa::set1(x.scale)), total);
    if constexpr (U::P::kMinimums) total = Isa::fma(block.minimums[0], Isa::set1(x.sum), total);
  } else {
    const auto scaled = Isa::fma(dots[1], block.scales[1], Isa::mul(dots[0], block.scales[0]));
    total = Isa::fma(scaled, Isa::set1(x.scale), total);
    if constexpr (U::P::kMinimums) {
      total = Isa::fma(block.minimums[0], Isa::set1(x.half_sums[0]), total);
      total = Isa::fma(block.minimums[1], Isa::set1(x.half_sums[1]), total);
    }
  }
  return total;
}

template <class U>
INLAY_INLINE std::int32_t correction_of(const ActivationBlock& x, int group) {
  return U::P::kGroup == 32 ? x.correction : x.half_corrections[group];
}

// One token.

/// 32 columns of kLanes rows.
template <class Isa, class U>
INLAY_INLINE typename Isa::Vec token_block(const std::byte* planes, const BlockScales<Isa>& scales,
                                           const ActivationBlock& x, typename Isa::Vec total) {
  constexpr int kGroups = 32 / U::P::kGroup;
  constexpr int kGroupSteps = kSteps / kGroups;
  typename Isa::Vec dots[kGroups];
  unroll<kGroups>([&](auto g) INLAY_INLINE_LAMBDA {
    typename Isa::Bytes quants[kGroupSteps];
    typename U::Count count;
    count.start(U::kZero);
    unroll<kGroupSteps>([&](auto s) INLAY_INLINE_LAMBDA {
      quants[s.value] = U::template quants<g.value * kGroupSteps + s.value>(planes);
      count.template add<s.value>(quants[s.value]);
    });
    typename U::Dot dot;
    dot.start(count.total(), correction_of<U>(x, g.value));
    unroll<kGroupSteps>([&](auto s) INLAY_INLINE_LAMBDA {
      dot.template add<s.value>(quants[s.value], x.quants + 4 * (g.value * kGroupSteps + s.value));
    });
    dots[g.value] = Isa::to_floats(dot.total());
  });
  return add_block<Isa, U>(scales, dots, x, total);
}

/// Asks for the lines of kBytes that lie `ahead` of p, which may be outside of the matrix, for the second-level cache:
/// more of them can be on their way to it than to the first. The hardware's own prefetch loses a stream that ends every
/// few kilobytes: without this, reading ran at 60% of the memory's speed.
template <std::size_t kBytes>
INLAY_INLINE void prefetch(const std::byte* p, std::size_t ahead) {
  unroll<(kBytes + kPlaneBytes - 1) / kPlaneBytes>(
      [&](auto line) INLAY_INLINE_LAMBDA { __builtin_prefetch(p + ahead + line.value * kPlaneBytes, 0, 2); });
}

template <class Isa, class U>
INLAY_INLINE void panel_times_token(const std::byte* panel, int n_cols, const ActivationBlock* x, std::size_t stride,
                                    float* out) {
  using Format = typename U::Format;
  constexpr int kBlocks = Format::block_weights / 32;
  constexpr int kGroups = 32 / U::P::kGroup;
  const int n = n_cols / Format::block_weights;
  const std::byte* halves = panel + offset_of(n, kBodyBytes<Format>);
  const std::size_t panel_bytes = offset_of(n, kBodyBytes<Format> + kHalvesBytes<Format>);
  constexpr std::size_t kAhead = (kPrefetchBytes + kBodyBytes<Format> - 1) / kBodyBytes<Format> * kBodyBytes<Format>;
  constexpr std::size_t kScaleBytes = Panel<Format>::kScaleBytes * std::size_t{kPanelRows};
  typename Isa::Vec totals[kParts<Isa>];
  unroll<kParts<Isa>>([&](auto part) INLAY_INLINE_LAMBDA { totals[part.value] = Isa::zero(); });
  for (int i = 0; i < n; ++i, panel += kBodyBytes<Format>, halves += kHalvesBytes<Format>) {
    prefetch<kScaleBytes>(panel, kAhead);
    prefetch<kHalvesBytes<Format>>(halves, panel_bytes);  // of the next panel
    alignas(64) float scales[kBlocks * kGroups * kPanelRows];
    alignas(64) float minimums[kBlocks * kGroups * kPanelRows];
    unroll<kParts<Isa>>([&](auto part) INLAY_INLINE_LAMBDA {
      read_scales<Isa, Format>(panel, halves, part.value * Isa::kLanes, scales, minimums);
    });
    const std::byte* planes = panel + kScaleBytes;
    for (int j = 0; j < kBlocks; ++j, planes += Panel<Format>::kStepBytes, x += stride) {
      prefetch<Panel<Format>::kStepBytes>(planes, kAhead);
      unroll<kParts<Isa>>([&](auto part) INLAY_INLINE_LAMBDA {
        constexpr int kRow = part.value * Isa::kLanes;
        const std::size_t first = offset_of(j, kGroups * kPanelRows) + kRow;
        totals[part.value] = token_block<Isa, U>(
            planes + 4 * kRow, load_scales<Isa, U>(scales + first, minimums + first), *x, totals[part.value]);
      });
    }
  }
  unroll<kParts<Isa>>([&](auto part)
                          INLAY_INLINE_LAMBDA { Isa::store(out + part.value * Isa::kLanes, totals[part.value]); });
}

// More tokens.

/// Unpacks the blocks [block, block + n) of 32 columns.
template <class Isa, class U>
INLAY_INLINE void unpack_chunk(const std::byte* panel, int n_cols, int block, int n, Chunk& chunk) {
  using Format = typename U::Format;
  constexpr int kBlocks = Format::block_weights / 32;
  constexpr int kGroups = 32 / U::P::kGroup;
  const std::byte* halves = panel + offset_of(n_cols / Format::block_weights, kBodyBytes<Format>) +
                            offset_of(block / kBlocks, kHalvesBytes<Format>);
  const std::byte* body = panel + offset_of(block / kBlocks, kBodyBytes<Format>);
  for (int first = 0; first < n; first += kBlocks, body += kBodyBytes<Format>, halves += kHalvesBytes<Format>) {
    prefetch<kBodyBytes<Format>>(body, kBodyBytes<Format> * (kChunkColumns / Format::block_weights));  // the next chunk
    unroll<kParts<Isa>>([&](auto part) INLAY_INLINE_LAMBDA {
      read_scales<Isa, Format>(body, halves, part.value * Isa::kLanes, chunk.scales[first * kGroups],
                               chunk.minimums[first * kGroups]);
    });
    const std::byte* planes = body + Panel<Format>::kScaleBytes * kPanelRows;
    for (int j = first; j < first + kBlocks; ++j, planes += Panel<Format>::kStepBytes) {
      unroll<kParts<Isa>>([&](auto part) INLAY_INLINE_LAMBDA {
        constexpr int kRow = part.value * Isa::kLanes;
        typename U::Count counts[kGroups];
        unroll<kGroups>([&](auto g) INLAY_INLINE_LAMBDA { counts[g.value].start(U::kZero); });
        unroll<kSteps>([&](auto s) INLAY_INLINE_LAMBDA {
          const auto quants = U::template quants<s.value>(planes + 4 * kRow);
          Isa::store_bytes(chunk.quants[j * kSteps + s.value] + 4 * kRow, quants);
          counts[s.value * kGroups / kSteps].template add<s.value>(quants);
        });
        unroll<kGroups>([&](auto g) INLAY_INLINE_LAMBDA {
          Isa::store_bytes(chunk.counts[j * kGroups + g.value] + kRow, counts[g.value].total());
        });
      });
    }
  }
}

/// Adds n blocks of kLanes rows, from lane `row` of the panel on, to the totals of kTokens tokens.
template <class Isa, class U, int kTokens>
INLAY_INLINE void add_chunk(const Chunk& chunk, int row, int n, const ActivationBlock* x, std::size_t stride,
                            typename Isa::Vec (&totals)[kTokens]) {
  constexpr int kGroups = 32 / U::P::kGroup;
  constexpr int kGroupSteps = kSteps / kGroups;
  for (int j = 0; j < n; ++j, x += stride) {
    typename Isa::Vec dots[kTokens][kGroups];
    unroll<kGroups>([&](auto g) INLAY_INLINE_LAMBDA {
      const auto counts = Isa::load_bytes(chunk.counts[j * kGroups + g.value] + row);
      typename U::Dot sums[kTokens];
      unroll<kTokens>([&](auto t)
                          INLAY_INLINE_LAMBDA { sums[t.value].start(counts, correction_of<U>(x[t.value], g.value)); });
      unroll<kGroupSteps>([&](auto s) INLAY_INLINE_LAMBDA {
        constexpr int kStep = g.value * kGroupSteps + s.value;
        const auto quants = Isa::load_bytes(chunk.quants[j * kSteps + kStep] + 4 * row);
        unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA {
          sums[t.value].template add<s.value>(quants, x[t.value].quants + 4 * kStep);
        });
      });
      unroll<kTokens>([&](auto t)
                          INLAY_INLINE_LAMBDA { dots[t.value][g.value] = Isa::to_floats(sums[t.value].total()); });
    });
    const auto scales = load_scales<Isa, U>(chunk.scales[j * kGroups] + row, chunk.minimums[j * kGroups] + row);
    unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA {
      totals[t.value] = add_block<Isa, U>(scales, dots[t.value], x[t.value], totals[t.value]);
    });
  }
}

/// The same for all rows of the panel, with the totals in memory: [kTokens][kPanelRows].
template <class Isa, class U, int kTokens>
void tile(const Chunk& chunk, int n, const ActivationBlock* x, std::size_t stride, bool first, float* sums) {
  for (int row = 0; row < kPanelRows; row += Isa::kLanes) {
    typename Isa::Vec totals[kTokens];
    unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA {
      totals[t.value] = first ? Isa::zero() : Isa::load(sums + t.value * kPanelRows + row);
    });
    add_chunk<Isa, U, kTokens>(chunk, row, n, x, stride, totals);
    unroll<kTokens>([&](auto t)
                        INLAY_INLINE_LAMBDA { Isa::store(sums + t.value * kPanelRows + row, totals[t.value]); });
  }
}

/// Adds n blocks of `panels` chunks to the sums of kTokens tokens: [panel][sums_stride].
template <class Isa, class U, int kTokens>
INLAY_INLINE void tile_of_panels(const Chunk* chunks, int n_panels, int n, const ActivationBlock* x, std::size_t stride,
                                 bool first, float* sums, std::size_t sums_stride) {
  for (int i = 0; i < n_panels; ++i, sums += sums_stride) {
    tile<Isa, U, kTokens>(chunks[i], n, x, stride, first, sums);
  }
}

/// Asks for the blocks [block, block + n) of the activations of kTokens tokens from `token` on, if there are so many:
/// those of a large batch come from the third-level cache, whose latency the short rows of a tile do not hide.
template <int kTokens>
INLAY_INLINE void prefetch_tokens(const Activations& activations, int token, int block, int n) {
  if (token + kTokens > activations.n_rows) return;
  const BlockRow at = block_row(token, activations.n_rows, activations.n_cols);
  const ActivationBlock* x = activations.blocks + at.first + static_cast<std::size_t>(block) * at.stride;
  for (int j = 0; j < n; ++j, x += at.stride) {
    unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA { __builtin_prefetch(x + t.value, 0, 3); });
  }
}

/// Adds n blocks from `block` on to the sums of all tokens, [n_panels][n_rows][kPanelRows], cut into the widest tiles.
template <class Isa, class U>
INLAY_INLINE void all_tokens(const Activations& activations, const Chunk* chunks, int n_panels, int block, int n,
                             float* sums) {
  const std::size_t sums_stride = offset_of(activations.n_rows, kPanelRows);
  for (int token = 0; token < activations.n_rows;) {
    const BlockRow at = block_row(token, activations.n_rows, activations.n_cols);
    const ActivationBlock* x = activations.blocks + at.first + static_cast<std::size_t>(block) * at.stride;
    const int left_of_tile = kTokenTile - token % kTokenTile;
    const int left = activations.n_rows - token;
    const int width = left_of_tile < left ? left_of_tile : left;
    const auto run = [&](auto tokens) INLAY_INLINE_LAMBDA {
      prefetch_tokens<tokens.value>(activations, token + tokens.value, block, n);
      tile_of_panels<Isa, U, tokens.value>(chunks, n_panels, n, x, at.stride, block == 0,
                                           sums + offset_of(token, kPanelRows), sums_stride);
      token += tokens.value;
    };
    if (width >= Isa::kTokens) {
      run(Index<Isa::kTokens>{});
    } else if (width >= 4) {
      run(Index<4>{});
    } else if (width >= 2) {
      run(Index<2>{});
    } else {
      run(Index<1>{});
    }
  }
}

// The weights of a float format.

template <class Isa, class Format, int kTokens>
void float_tile(const std::byte* panel, int n_cols, const float* x, float* out, std::size_t out_stride) {
  using Vec = typename Isa::Vec;
  constexpr std::size_t kRowBytes = sizeof(typename Format::Block);
  for (int row = 0; row < kPanelRows; row += Isa::kLanes) {
    Vec sums[2][kTokens];  // of the even and of the odd columns: two chains of additions
    unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA { sums[0][t.value] = sums[1][t.value] = Isa::zero(); });
    const auto add = [&](int column, auto odd) INLAY_INLINE_LAMBDA {
      const Vec weights =
          load_floats<Isa, Format>(panel + kRowBytes * (offset_of(column, kPanelRows) + static_cast<std::size_t>(row)));
      unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA {
        Vec& sum = sums[odd.value][t.value];
        sum = Isa::fma(weights, Isa::set1(x[offset_of(t.value, n_cols) + static_cast<std::size_t>(column)]), sum);
      });
    };
    int column = 0;
    for (; column + 2 <= n_cols; column += 2) {
      add(column, Index<0>{});
      add(column + 1, Index<1>{});
    }
    if (column < n_cols) add(column, Index<0>{});
    unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA {
      Isa::store(out + t.value * out_stride + row, Isa::add(sums[0][t.value], sums[1][t.value]));
    });
  }
}

// The drivers.

/// The panel that begins with weight row `row`, packed now when the matrix is not.
template <class Format>
INLAY_INLINE const std::byte* panel_at(const MatmulArgs& args, int row) {
  if (args.panels != nullptr) return args.panels + offset_of(row / kPanelRows, 1) * args.panel_bytes;
  const int left = args.n_matrix_rows - row;
  pack_panel(Format::format, args.rows + static_cast<std::size_t>(row) * args.row_bytes, args.row_bytes,
             left < kPanelRows ? left : kPanelRows, args.x.n_cols, args.panel_scratch);
  return args.panel_scratch;
}

/// Rows of the last panel that are not there: their outputs must not be written.
INLAY_INLINE int rows_of_panel(const MatmulArgs& args, int row) {
  const int left = args.row_end - row;
  return left < kPanelRows ? left : kPanelRows;
}

template <class Isa, class Format>
INLAY_INLINE void one_token(const MatmulArgs& args, const std::byte* panel, int token, float* out) {
  if constexpr (Format::block_weights == 1) {
    float_tile<Isa, Format, 1>(panel, args.x.n_cols, args.x.values + offset_of(token, args.x.n_cols), out, 0);
  } else {
    const BlockRow at = block_row(token, args.x.n_rows, args.x.n_cols);
    panel_times_token<Isa, Unpack<Isa, Format>>(panel, args.x.n_cols, args.x.blocks + at.first, at.stride, out);
  }
}

/// One panel, token by token.
template <class Isa, class Format>
INLAY_INLINE void panel_token_by_token(const MatmulArgs& args, const std::byte* panel, int row) {
  const int n = rows_of_panel(args, row);
  for (int token = 0; token < args.x.n_rows; ++token) {
    float* out = args.out + static_cast<std::size_t>(token) * args.out_stride + row;
    if (n == kPanelRows) {
      one_token<Isa, Format>(args, panel, token, out);
    } else {
      alignas(64) float sums[kPanelRows];
      one_token<Isa, Format>(args, panel, token, sums);
      for (int r = 0; r < n; ++r) out[r] = sums[r];
    }
  }
}

/// All tokens with full panels of floats.
template <class Isa, class Format>
INLAY_INLINE void float_panel(const MatmulArgs& args, const std::byte* panel, int row) {
  constexpr int kTokens = 4;
  int token = 0;
  const auto run = [&](auto tokens) INLAY_INLINE_LAMBDA {
    float_tile<Isa, Format, tokens.value>(panel, args.x.n_cols, args.x.values + offset_of(token, args.x.n_cols),
                                          args.out + static_cast<std::size_t>(token) * args.out_stride + row,
                                          args.out_stride);
    token += tokens.value;
  };
  while (token + kTokens <= args.x.n_rows) run(Index<kTokens>{});
  while (token < args.x.n_rows) run(Index<1>{});
}

/// The full panels from `row` on, `n_panels` of them, chunk by chunk.
template <class Isa, class Format>
INLAY_INLINE void round_of_panels(const MatmulArgs& args, int row, int n_panels) {
  using U = Unpack<Isa, Format>;
  const int n_blocks = args.x.n_cols / 32;
  const std::byte* panels[kPanelsARound];
  for (int i = 0; i < n_panels; ++i) panels[i] = panel_at<Format>(args, row + i * kPanelRows);
  Chunk chunks[kPanelsARound];
  for (int block = 0; block < n_blocks; block += kChunkColumns / 32) {
    const int n = n_blocks - block < kChunkColumns / 32 ? n_blocks - block : kChunkColumns / 32;
    for (int i = 0; i < n_panels; ++i) unpack_chunk<Isa, U>(panels[i], args.x.n_cols, block, n, chunks[i]);
    all_tokens<Isa, U>(args.x, chunks, n_panels, block, n, args.totals_scratch);
  }
  for (int i = 0; i < n_panels; ++i) {
    for (int token = 0; token < args.x.n_rows; ++token) {
      const float* sums = args.totals_scratch + offset_of(i * args.x.n_rows + token, kPanelRows);
      float* out = args.out + static_cast<std::size_t>(token) * args.out_stride + row + i * kPanelRows;
      for (int r = 0; r < kPanelRows; r += Isa::kLanes) Isa::store(out + r, Isa::load(sums + r));
    }
  }
}

template <class Isa, class Format>
void matmul(const MatmulArgs& args) {
  int row = args.row_begin;
  if (args.x.n_rows > 1) {
    const int n_round = args.panels != nullptr ? kPanelsARound : 1;  // there is memory to pack one
    while (row + kPanelRows <= args.row_end) {
      const int left = (args.row_end - row) / kPanelRows;
      const int n_panels = Format::block_weights == 1 ? 1 : left < n_round ? left : n_round;
      if constexpr (Format::block_weights == 1)
        float_panel<Isa, Format>(args, panel_at<Format>(args, row), row);
      else
        round_of_panels<Isa, Format>(args, row, n_panels);
      row += n_panels * kPanelRows;
    }
  }
  for (; row < args.row_end; row += kPanelRows)
    panel_token_by_token<Isa, Format>(args, panel_at<Format>(args, row), row);
}

}  // namespace
}  // namespace inlay::cpu
