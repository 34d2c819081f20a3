#include "cpu/linear.hpp"

#include <algorithm>
#include <cstdint>

namespace inlay::cpu {
namespace {

std::size_t at(int row, int stride) { return static_cast<std::size_t>(row) * static_cast<std::size_t>(stride); }

}  // namespace

bool wants_quantized(std::span<const Linear> linears) {
  return std::any_of(linears.begin(), linears.end(),
                     [](const Linear& linear) { return reads_quantized_activations(linear.matrix->format); });
}

InputRows input_rows(const StepContext& context, const float* values, int n_cols) {
  return {values, context.n_rows(), n_cols, context.n_bulk};
}

void quantize_row(const StepContext& context, const InputRows& input, int row) {
  const float* values = input.values + at(row, input.n_cols);
  if (row < input.n_bulk) {
    const std::size_t tile = static_cast<std::size_t>(row / kBulkTile) * bulk_tile_blocks(input.n_cols);
    context.kernels.round_bulk(values, input.n_cols, context.buffers.bulk.data() + tile + row % kBulkTile);
    return;
  }
  const BlockRow blocks = block_row(row - input.n_bulk, input.n_rows - input.n_bulk, input.n_cols);
  context.kernels.quantize(values, input.n_cols, context.buffers.blocks.data() + blocks.first, blocks.stride);
}

void normalize_row(const StepContext& context, const float* norm, const InputRows& input, int from, int to,
                   bool quantized) {
  const int length = context.plan.spec.embedding_length;
  context.kernels.rms_norm(context.buffers.x.data() + at(from, length), norm, length, context.plan.spec.norm_epsilon,
                           context.buffers.normalized.data() + at(to, length));
  if (quantized) quantize_row(context, input, to);
}

InputRows normalize_input(const StepContext& context, const float* norm, bool quantized) {
  const InputRows input = input_rows(context, context.buffers.normalized.data(), context.plan.spec.embedding_length);
  for_rows(context, input.n_rows, [&](int row) { normalize_row(context, norm, input, row, row, quantized); });
  return input;
}

void multiply(const StepContext& context, const Linear& linear, const InputRows& input, Range range, int part) {
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
  args.x = {input.values, context.buffers.blocks.data(), context.buffers.bulk.data(), input.n_rows, input.n_cols};
  args.out = linear.out;
  args.out_stride = linear.out_stride;
  const auto format = static_cast<std::size_t>(format_index(matrix.format));
  if (input.n_bulk > 0 && context.kernels.bulk_matmul[format] != nullptr) {
    args.x.n_rows = input.n_bulk;
    context.kernels.bulk_matmul[format](args);
    args.x.n_rows = input.n_rows - input.n_bulk;
    args.out += at(input.n_bulk, 1) * linear.out_stride;
  }
  if (args.x.n_rows > 0) context.kernels.matmul[format](args);
  if (linear.bias == nullptr) return;
  for (int t = 0; t < input.n_rows; ++t) {
    float* out = linear.out + static_cast<std::size_t>(t) * linear.out_stride;
    context.kernels.add(linear.bias + range.begin, range.end - range.begin, out + range.begin);
  }
}

RowUnits::RowUnits(std::span<const Linear> linears, int n_parts, int most_rows) : linears_(linears) {
  constexpr int kUnitsOfPart = 8;  // so that nobody waits long for the last one
  int n_rows = 0;
  for (const Linear& linear : linears) n_rows += linear.matrix->n_rows;
  rows_ = std::clamp(n_rows / (kUnitsOfPart * n_parts) / kPanelRows * kPanelRows, kPanelRows, most_rows);
  for (const Linear& linear : linears) size_ += units_of(linear);
}

int RowUnits::units_of(const Linear& linear) const { return (linear.matrix->n_rows + rows_ - 1) / rows_; }

RowUnits::Unit RowUnits::operator[](int i) const {
  std::size_t matrix = 0;
  for (; i >= units_of(linears_[matrix]); ++matrix) i -= units_of(linears_[matrix]);
  return {matrix, {i * rows_, std::min((i + 1) * rows_, linears_[matrix].matrix->n_rows)}};
}

}  // namespace inlay::cpu
