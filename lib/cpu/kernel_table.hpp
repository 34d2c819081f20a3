// The functions that a CPU instruction set provides. One table per ISA, filled by table_<isa>.cpp; the executor calls
// through the table and knows no instruction set.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "cpu/activations.hpp"
#include "cpu/attention_args.hpp"
#include "cpu/panel.hpp"
#include "model/model_kinds.hpp"
#include "quant/formats.hpp"

namespace inlay::cpu {

/// Panels of which the same columns are in the nearer caches together, so that a tile of tokens is fetched once for all
/// of them.
inline constexpr int kPanelsARound = 8;

/// The same for bulk rows and the second-level cache. An even number: they are multiplied in pairs.
inline constexpr int kBulkPanels = 8;

/// Sums of a panel's products with bulk rows: [tiles of kBulkTile rows][kBulkTile][kPanelRows]. Always inlined: the
/// code of instruction sets may not leave a copy of it to the linker (isa_code.hpp).
[[nodiscard]] __attribute__((always_inline)) constexpr std::size_t bulk_sums_of_panel(int n_rows) {
  return static_cast<std::size_t>((n_rows + kBulkTile - 1) / kBulkTile * kBulkTile) * std::size_t{kPanelRows};
}

/// Floats of MatmulArgs::totals_scratch. Sums of a round grow there and not in `out`, whose rows often lie a power of
/// two apart, where they would push each other out of the caches.
[[nodiscard]] constexpr std::size_t matmul_totals(int n_rows) {
  const std::size_t sums = static_cast<std::size_t>(n_rows) * std::size_t{kPanelsARound} * std::size_t{kPanelRows};
  const std::size_t bulk_sums = bulk_sums_of_panel(n_rows) * std::size_t{kBulkPanels};
  return sums < bulk_sums ? bulk_sums : sums;
}

/// out[t, r] = dot(row r of the matrix, activations[t]) for row_begin <= r < row_end and all rows t of x.
/// The result for one (t, r) depends on neither the range nor n_rows: bitwise the same however the work is cut.
struct MatmulArgs {
  const std::byte* rows = nullptr;  // [n_matrix_rows, row_bytes] blocks as in the file, no alignment
  std::size_t row_bytes = 0;
  int n_matrix_rows = 0;
  const std::byte* panels = nullptr;   // the same packed (cpu/panel.hpp), or null; only where KernelTable::reads_panels
  std::size_t panel_bytes = 0;         // from one panel to the next
  std::byte* panel_scratch = nullptr;  // [panel_bytes], 64-byte aligned: where panels are made when `panels` is null
  float* totals_scratch = nullptr;     // [matmul_totals(n_rows)], 64-byte aligned
  int row_begin = 0;                   // a multiple of kPanelRows
  int row_end = 0;                     // the same, or n_matrix_rows
  Activations x;
  float* out = nullptr;  // [n_rows, out_stride]; column r is weight row r
  std::size_t out_stride = 0;
};

// Bulk rows (RowKind in runtime/backend.hpp): an ISA with a matrix unit multiplies them in another arithmetic than the
// rows for which weights are read one at a time.

struct KernelTable {
  const char* name = nullptr;
  bool reads_panels = false;  // matmul wants matrices packed into panels; else it reads rows as in the file
  /// Indexed by format_index(format).
  std::array<void (*)(const MatmulArgs&), WeightFormats::size> matmul = {};
  /// The same product for bulk rows, from MatmulArgs::x.bulk, with weights and activations rounded to bfloat16. Null
  /// for the formats whose bulk rows are treated as the others.
  std::array<void (*)(const MatmulArgs&), WeightFormats::size> bulk_matmul = {};
  /// Rounds n floats (a multiple of 32) times kBulkScale to bfloat16, to nearest even, into blocks kBulkTile apart.
  /// Null if there is no bulk_matmul.
  void (*round_bulk)(const float* x, int n, BulkBlock* out) = nullptr;
  /// Quantises n floats (a multiple of 32) into blocks `stride` apart: scale = range of the block and zero / 254,
  /// quants rounded to nearest, ties to even. Bitwise the same in every table.
  void (*quantize)(const float* x, int n, ActivationBlock* out, std::size_t stride) = nullptr;
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
const KernelTable& amx_kernels();     // the same, AVX-512 BF16 and FP16, AMX-BF16
#endif

}  // namespace inlay::cpu
