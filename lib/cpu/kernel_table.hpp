// The functions that a CPU instruction set provides. One table per ISA, filled by table_<isa>.cpp; the executor calls
// through the table and knows no instruction set.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "cpu/attention_args.hpp"
#include "model/model_kinds.hpp"
#include "quant/formats.hpp"

namespace inlay::cpu {

/// Activations are quantised in blocks of 32 whose 255 steps span the block's own range, not a range symmetric around
/// zero: where one large value stands alone, as in most blocks with outliers, the steps are half as wide. Together with
/// the small block this is where the fidelity comes from (README.md has the figures).
inline constexpr int kActivationBlock = 32;

/// A block with a smaller scale counts as zeros, so that the inverse of the scale is finite.
inline constexpr float kSmallestScale = 0x1p-107F;

/// Rows of activations, as floats and quantised. A matmul reads the one that its weight format wants.
/// Quantised: value[i] = scales[i / 32] * quants[i] + offsets[i / 32], quants in [-127, 127]. Offsets are whole
/// multiples of the scale, so that zeros stay zeros. A block with a NaN or an infinity has quants of 0 and NaN scales,
/// offsets and sums, so that every product with it is NaN.
struct Activations {
  const float* values = nullptr;        // [n_rows, n_cols]
  const std::int8_t* quants = nullptr;  // [n_rows, n_cols], 64-byte aligned rows when n_cols is a multiple of 64
  const float* scales = nullptr;        // [n_rows, n_cols / 32]
  const float* offsets = nullptr;       // [n_rows, n_cols / 32]
  const float* sums = nullptr;          // [n_rows, n_cols / 16]: of 16 quantised values, for formats with minimums
  int n_rows = 0;
  int n_cols = 0;
};

/// Where the quantised twin of a row of n floats goes.
struct QuantizedRow {
  std::int8_t* quants = nullptr;  // [n]
  float* scales = nullptr;        // [n / 32]
  float* offsets = nullptr;       // [n / 32]
  float* sums = nullptr;          // [n / 16]
};

/// out[t, r] = dot(weights[r], activations[t]) for row_begin <= r < row_end and all rows t.
/// The result for one (t, r) depends on neither the range nor n_rows: bitwise the same however the work is cut.
struct MatmulArgs {
  const std::byte* weights = nullptr;  // [rows, row_bytes] blocks, no alignment
  std::size_t row_bytes = 0;
  int row_begin = 0;
  int row_end = 0;
  Activations x;
  float* out = nullptr;  // [n_rows, out_stride]; column r is weight row r
  std::size_t out_stride = 0;
};

struct KernelTable {
  const char* name = nullptr;
  /// Indexed by format_index(format).
  std::array<void (*)(const MatmulArgs&), WeightFormats::size> matmul = {};
  /// Quantises n floats (a multiple of 32): scale = range of the block and zero / 254, quants rounded to nearest, ties
  /// to even. Bitwise the same in every table.
  void (*quantize)(const float* x, int n, const QuantizedRow& out) = nullptr;
  /// out = x / sqrt(mean(x^2) + epsilon) * weight. `out` may be `x`.
  void (*rms_norm)(const float* x, const float* weight, int n, float epsilon, float* out) = nullptr;
  /// Rotates the first 2 * n_pairs values of each head in place by the angles whose cosines and sines are given,
  /// [n_pairs]. RopeKind::kNormal pairs (2i, 2i + 1), kNeox pairs (i, i + n_pairs).
  void (*rope)(float* heads, int n_heads, int head_size, int n_pairs, RopeKind kind, const float* cosines,
               const float* sines) = nullptr;
  /// out[i] = activation(gate[i]) * up[i]. `out` may be `gate` or `up`.
  void (*gated_activation)(Activation activation, const float* gate, const float* up, int n, float* out) = nullptr;
  /// out[i] += x[i].
  void (*add)(const float* x, int n, float* out) = nullptr;
  /// Rounds to IEEE half, to nearest even.
  void (*store_half)(const float* x, int n, std::uint16_t* out) = nullptr;
  /// Puts one position's key and value of a head into a page.
  void (*store_kv)(const KvStoreArgs& args) = nullptr;
  /// Attention over one chunk of positions, into args.state. No memory overlaps another.
  void (*attend)(const AttentionArgs& args) = nullptr;
  /// Joins `part` to what the same queries have seen so far. The result depends on the order of the joins.
  void (*merge_attention)(const AttentionState& part, const AttentionState& into, int n_queries,
                          int head_size) = nullptr;
  /// out[q] = sums[q] / totals[q], [n_queries, head_size]; zeros for a query that saw no position.
  void (*finish_attention)(const AttentionState& state, int n_queries, int head_size, float* out) = nullptr;
};

/// Whether quantised activations are what the kernels of `format` read (else they read the floats).
[[nodiscard]] constexpr bool reads_quantized_activations(Format format) {
  return format_info(format).block_weights > 1;
}

const KernelTable& generic_kernels();
#if defined(__x86_64__)
const KernelTable& avx2_kernels();    // AVX2, FMA, F16C
const KernelTable& avx512_kernels();  // AVX-512 F, BW, DQ, VL, VNNI
#endif

}  // namespace inlay::cpu
