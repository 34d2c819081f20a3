#include "cpu/linear.hpp"

#include <algorithm>

namespace inlay::cpu {
namespace {

constexpr int kRowUnit = 16;  // parts begin at multiples of a cache line of outputs: no two threads write one line

std::size_t at(int row, int stride) { return static_cast<std::size_t>(row) * static_cast<std::size_t>(stride); }

}  // namespace

bool wants_quantized(std::span<const Linear> linears) {
  return std::any_of(linears.begin(), linears.end(),
                     [](const Linear& linear) { return reads_quantized_activations(linear.matrix->format); });
}

void quantize_row(const StepContext& context, const float* values, int row, int n_cols) {
  Buffers& buffers = context.buffers;
  context.kernels.quantize(values + at(row, n_cols), n_cols,
                           {buffers.quants.data() + at(row, n_cols), buffers.scales.data() + at(row, n_cols / 32),
                            buffers.offsets.data() + at(row, n_cols / 32), buffers.sums.data() + at(row, n_cols / 16)});
}

void normalize_row(const StepContext& context, const float* norm, int from, int to, bool quantized) {
  const int length = context.plan.spec.embedding_length;
  context.kernels.rms_norm(context.buffers.x.data() + at(from, length), norm, length, context.plan.spec.norm_epsilon,
                           context.buffers.normalized.data() + at(to, length));
  if (quantized) quantize_row(context, context.buffers.normalized.data(), to, length);
}

void normalize_input(const StepContext& context, const float* norm, bool quantized) {
  for_rows(context, context.n_rows(), [&](int row) { normalize_row(context, norm, row, row, quantized); });
}

Activations activations(const StepContext& context, const float* values, int n_rows, int n_cols) {
  const Buffers& buffers = context.buffers;
  return {values, buffers.quants.data(), buffers.scales.data(), buffers.offsets.data(), buffers.sums.data(), n_rows,
          n_cols};
}

void multiply(const StepContext& context, const Linear& linear, const Activations& x, Range range) {
  if (range.begin >= range.end) return;
  const Matrix& matrix = *linear.matrix;
  MatmulArgs args;
  args.weights = matrix.data;
  args.row_bytes = matrix.row_bytes();
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

Range share_of(const Matrix& matrix, int part, int n_parts) { return split(matrix.rows, kRowUnit, part, n_parts); }

}  // namespace inlay::cpu
