// The matmul shape: a register tile of rows x tokens that walks along K.
//
// Every (row, token) has its own float accumulators, to which the same operations add the same blocks in the same order
// in a tile of any size, with one fixed sum at the end: the result does not depend on how the work is cut. The weights
// of a tile are unpacked once for all of its tokens.
#pragma once

#include "cpu/isa_code.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/unpack.hpp"

namespace inlay::cpu {
namespace {

constexpr int kRowBlock = 4;   // rows that stay in the cache while all tokens pass
constexpr int kTokenTile = 4;  // tokens of a tile; those that are left go one by one

/// The activations of one token, from the current column on.
struct TokenSlice {
  const std::int8_t* quants;
  const float* scales;
  const float* offsets;
  const float* sums;
};

/// Asks for the lines of kBytes that lie `ahead` of p, which may be outside of the matrix. Decode reads every weight
/// once, in short rows that the hardware's own prefetch keeps losing: asking for the next tile's gained it 20 to 45%.
template <std::size_t kBytes>
INLAY_INLINE void prefetch(const std::byte* p, std::size_t ahead) {
  for (std::size_t i = 0; i < kBytes; i += 64) __builtin_prefetch(p + ahead + i);
}

/// Adds a step of weights to totals[row][token] and moves on to the next.
template <class U, int kRows, int kTokens>
INLAY_INLINE void add_step(std::size_t ahead, const std::byte* (&rows)[kRows], TokenSlice (&tokens)[kTokens],
                           typename U::Isa::Vec (&totals)[kRows][kTokens]) {
  using Isa = typename U::Isa;
  if constexpr (kTokens == 1) {
    unroll<kRows>([&](auto r) INLAY_INLINE_LAMBDA { prefetch<U::kBytes>(rows[r.value], ahead); });
  }
  typename U::Head heads[kRows];
  unroll<kRows>([&](auto r) INLAY_INLINE_LAMBDA { heads[r.value] = U::head(rows[r.value]); });
  typename Isa::Vec dots[kRows][kTokens];
  unroll<U::kChunks>([&](auto chunk_index) INLAY_INLINE_LAMBDA {
    constexpr int kChunk = decltype(chunk_index)::value;
    using Chunk = decltype(U::template chunk<kChunk>(heads[0], rows[0]));
    Chunk chunks[kRows];
    unroll<kRows>([&](auto r) INLAY_INLINE_LAMBDA {
      chunks[r.value] = U::template chunk<kChunk>(heads[r.value], rows[r.value]);
      U::template count<kChunk>(chunks[r.value], heads[r.value]);
    });
    unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA {
      const TokenSlice& token = tokens[t.value];
      const auto x = U::load_activations(token.quants + kChunk * U::kChunkWeights);
      const auto scales = U::activation_scales(token.scales + kChunk * (U::kChunkWeights / kActivationBlock));
      unroll<kRows>([&](auto r) INLAY_INLINE_LAMBDA {
        auto& sum = dots[r.value][t.value];
        const auto products = chunks[r.value].dot(x);
        if constexpr (kChunk == 0) {
          sum = Isa::mul(products, scales);
        } else {
          sum = Isa::fma(products, scales, sum);
        }
        if constexpr (kChunk + 1 == U::kChunks) {
          auto& total = totals[r.value][t.value];
          total = U::finish(heads[r.value], sum, token.offsets, token.sums, total);
        }
      });
    });
  });
  unroll<kRows>([&](auto r) INLAY_INLINE_LAMBDA { rows[r.value] += U::kBytes; });
  unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA {
    tokens[t.value].quants += U::kWeights;
    tokens[t.value].scales += U::kWeights / kActivationBlock;
    tokens[t.value].offsets += U::kWeights / kActivationBlock;
    tokens[t.value].sums += U::kWeights / 16;
  });
}

template <class U, int kRows, int kTokens>
INLAY_INLINE void add_quantized(const MatmulArgs& args, int row, int token,
                                typename U::Isa::Vec (&totals)[kRows][kTokens]) {
  const std::byte* rows[kRows];
  unroll<kRows>([&](auto r) INLAY_INLINE_LAMBDA {
    rows[r.value] = args.weights + static_cast<std::size_t>(row + r.value) * args.row_bytes;
  });
  TokenSlice tokens[kTokens];
  unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA {
    const std::size_t first = offset_of(token + t.value, args.x.n_cols);
    tokens[t.value] = {args.x.quants + first, args.x.scales + first / kActivationBlock,
                       args.x.offsets + first / kActivationBlock, args.x.sums + first / 16};
  });
  const std::size_t ahead = kRows * args.row_bytes;
  int left = args.x.n_cols;
  for (; left >= U::kWeights; left -= U::kWeights) add_step<U>(ahead, rows, tokens, totals);
  if constexpr (U::Tail::kWeights < U::kWeights) {
    for (; left >= U::Tail::kWeights; left -= U::Tail::kWeights) {
      add_step<typename U::Tail>(ahead, rows, tokens, totals);
    }
  }
}

template <class U, int kRows, int kTokens>
INLAY_INLINE void add_floats(const MatmulArgs& args, int row, int token,
                             typename U::Isa::Vec (&totals)[kRows][kTokens]) {
  using Isa = typename U::Isa;
  constexpr int kWeightBytes = U::Format::block_bytes;
  const std::byte* weights = args.weights + static_cast<std::size_t>(row) * args.row_bytes;
  const float* values = args.x.values + offset_of(token, args.x.n_cols);
  const auto add = [&](int column, auto... count) INLAY_INLINE_LAMBDA {
    typename Isa::Vec w[kRows];
    unroll<kRows>([&](auto r) INLAY_INLINE_LAMBDA {
      w[r.value] = U::load(weights + r.value * args.row_bytes + offset_of(column, kWeightBytes), count...);
    });
    unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA {
      const auto x = Isa::load(values + offset_of(t.value, args.x.n_cols) + column, count...);
      unroll<kRows>([&](auto r) INLAY_INLINE_LAMBDA {
        auto& total = totals[r.value][t.value];
        total = Isa::fma(w[r.value], x, total);
      });
    });
  };
  int column = 0;
  for (; column + Isa::kLanes <= args.x.n_cols; column += Isa::kLanes) add(column);
  if (column < args.x.n_cols) add(column, args.x.n_cols - column);
}

template <class U, int kRows, int kTokens>
void matmul_tile(const MatmulArgs& args, int row, int token) {
  using Isa = typename U::Isa;
  typename Isa::Vec totals[kRows][kTokens];
  unroll<kRows>([&](auto r) INLAY_INLINE_LAMBDA {
    unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA { totals[r.value][t.value] = Isa::zero(); });
  });
  if constexpr (U::Format::block_weights == 1) {
    add_floats<U>(args, row, token, totals);
  } else {
    add_quantized<U>(args, row, token, totals);
  }
  unroll<kTokens>([&](auto t) INLAY_INLINE_LAMBDA {
    float* out = args.out + static_cast<std::size_t>(token + t.value) * args.out_stride + row;
    unroll<kRows>([&](auto r) INLAY_INLINE_LAMBDA { out[r.value] = Isa::reduce_add(totals[r.value][t.value]); });
  });
}

/// One token of kRowBlock rows. Rows of small blocks go together: each one's sum is a chain of additions, too slow
/// alone. In a block of 256 weights the chain is short.
template <class U>
INLAY_INLINE void matmul_token(const MatmulArgs& args, int row, int token) {
  constexpr int kTileRows = U::Format::block_weights == kSuperBlock ? 1 : kRowBlock;
  for (int r = 0; r < kRowBlock; r += kTileRows) matmul_tile<U, kTileRows, 1>(args, row + r, token);
}

template <class U>
void matmul(const MatmulArgs& args) {
  int row = args.row_begin;
  for (; row + kRowBlock <= args.row_end; row += kRowBlock) {
    int token = 0;
    for (; token + kTokenTile <= args.x.n_rows; token += kTokenTile) {
      constexpr int kTileRows = U::Isa::kMatmulTile / kTokenTile;
      for (int r = 0; r < kRowBlock; r += kTileRows) matmul_tile<U, kTileRows, kTokenTile>(args, row + r, token);
    }
    for (; token < args.x.n_rows; ++token) matmul_token<U>(args, row, token);
  }
  for (; row < args.row_end; ++row) {
    for (int token = 0; token < args.x.n_rows; ++token) matmul_tile<U, 1, 1>(args, row, token);
  }
}

}  // namespace
}  // namespace inlay::cpu
