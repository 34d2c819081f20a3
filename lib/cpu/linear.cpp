#include "cpu/linear.hpp"

#include <algorithm>
#include <cstdint>

#include "base/checked_math.hpp"

namespace inlay::cpu {
namespace {

std::size_t at(int row, int stride) { return static_cast<std::size_t>(row) * static_cast<std::size_t>(stride); }

}  // namespace

bool wants_quantized(std::span<const Linear> linears) {
  return std::any_of(linears.begin(), linears.end(),
                     [](const Linear& linear) { return reads_quantized_activations(linear.matrix->format); });
}

void quantize_row(const StepContext& context, const float* values, int row, int n_rows, int n_cols) {
  const BlockRow at_blocks = block_row(row, n_rows, n_cols);
  context.kernels.quantize(values + at(row, n_cols), n_cols, context.buffers.blocks.data() + at_blocks.first,
                           at_blocks.stride);
}

void normalize_row(const StepContext& context, const float* norm, NormalizedRow row, bool quantized) {
  const int length = context.plan.spec.embedding_length;
  context.kernels.rms_norm(context.buffers.x.data() + at(row.from, length), norm, length,
                           context.plan.spec.norm_epsilon, context.buffers.normalized.data() + at(row.to, length));
  if (quantized) quantize_row(context, context.buffers.normalized.data(), row.to, row.n_rows, length);
}

void normalize_input(const StepContext& context, const float* norm, bool quantized) {
  const int n_rows = context.n_rows();
  for_rows(context, n_rows, [&](int row) { normalize_row(context, norm, {row, row, n_rows}, quantized); });
}

Activations activations(const StepContext& context, const float* values, int n_rows, int n_cols) {
  return {values, context.buffers.blocks.data(), n_rows, n_cols};
}

void multiply(const StepContext& context, const Linear& linear, const Activations& x, Range range, int part) {
  if (range.begin >= range.end) return;
  const WeightMatrix& matrix = *linear.matrix;
  MatmulArgs args;
  args.rows = matrix.rows;
  args.row_bytes = matrix.row_bytes;
  args.n_matrix_rows = matrix.n_rows;
  args.panels = matrix.panels;
  args.panel_bytes = matrix.panel_bytes;
  const auto thread = static_cast<std::size_t>(part);
  args.panel_scratch = context.buffers.panel_scratch.data() + thread * context.buffers.panel_stride;
  args.totals_scratch = context.buffers.totals.data() + thread * matmul_totals(context.buffers.batch_rows);
  args.row_begin = range.begin;
  args.row_end = range.end;
  args.x = x;
  args.out = linear.out;
  args.out_stride = linear.out_stride;
  context.kernels.matmul[static_cast<std::size_t>(format_index(matrix.format))](args);
  if (linear.bias == nullptr) return;
  for (int t = 0; t < x.n_rows; ++t) {
    float* out = linear.out + static_cast<std::size_t>(t) * linear.out_stride;
    context.kernels.add(linear.bias + range.begin, range.end - range.begin, out + range.begin);
  }
}

Range share_of(const WeightMatrix& matrix, int part, int n_parts) {
  return split(matrix.n_rows, kPanelRows, part, n_parts);
}

void multiply_share(const StepContext& context, std::span<const Linear> linears, const Activations& x, int part) {
  const auto n_parts = static_cast<std::uint64_t>(context.pool.size());
  std::uint64_t total = 0;
  for (const Linear& linear : linears) total += linear.matrix->panels_bytes();
  const std::uint64_t begin = total * static_cast<std::uint64_t>(part) / n_parts;
  const std::uint64_t end = total * (static_cast<std::uint64_t>(part) + 1) / n_parts;
  std::uint64_t before = 0;
  for (const Linear& linear : linears) {
    const WeightMatrix& matrix = *linear.matrix;
    // A panel belongs to the part in whose bytes it begins.
    const auto row_from = [&](std::uint64_t byte) {
      if (byte <= before) return 0;
      const std::uint64_t panel = ceil_div(byte - before, matrix.panel_bytes);
      return static_cast<int>(std::min<std::uint64_t>(panel * kPanelRows, static_cast<std::uint64_t>(matrix.n_rows)));
    };
    multiply(context, linear, x, {row_from(begin), row_from(end)}, part);
    before += matrix.panels_bytes();
  }
}

}  // namespace inlay::cpu
