// What all steps with matrices share: preparing their input, and multiplying.
#pragma once

#include <cstddef>
#include <span>

#include "cpu/steps.hpp"
#include "cpu/weights.hpp"

namespace inlay::cpu {

/// y[t, r] = sum over c of matrix[r, c] * x[t, c], plus bias[r].
struct Linear {
  const WeightMatrix* matrix = nullptr;
  const float* bias = nullptr;  // [rows] or null
  float* out = nullptr;         // [n_rows, out_stride]
  std::size_t out_stride = 0;
};

/// Calls body(row) for each row: on all threads when there are enough rows to pay for waking them.
template <class Body>
void for_rows(const StepContext& context, int n_rows, const Body& body) {
  const int n_parts = context.pool.size();
  if (n_rows < 2 * n_parts) {
    for (int row = 0; row < n_rows; ++row) body(row);
    return;
  }
  context.pool.run([&](int part) {
    const Range range = split(n_rows, 1, part, n_parts);
    for (int row = range.begin; row < range.end; ++row) body(row);
  });
}

/// Whether one of the matrices reads quantised activations.
bool wants_quantized(std::span<const Linear> linears);

/// Quantises row `row` of values [n_rows, n_cols] into the buffers.
void quantize_row(const StepContext& context, const float* values, int row, int n_rows, int n_cols);

/// Row `to` of n_rows of buffers.normalized becomes the normalised row `from` of buffers.x, quantised too if wanted.
struct NormalizedRow {
  int from = 0;
  int to = 0;
  int n_rows = 0;
};
void normalize_row(const StepContext& context, const float* norm, NormalizedRow row, bool quantized);

/// The same for every row of the batch, in place.
void normalize_input(const StepContext& context, const float* norm, bool quantized);

/// Values [n_rows, n_cols] with what quantize_row made of them, as kernels want it.
Activations activations(const StepContext& context, const float* values, int n_rows, int n_cols);

/// Row range `range` of a linear for all rows of x: what one thread, which runs part `part`, does.
void multiply(const StepContext& context, const Linear& linear, const Activations& x, Range range, int part);

/// The share of a matrix's rows that a part computes.
Range share_of(const WeightMatrix& matrix, int part, int n_parts);

/// Multiplies the part's share of several linears: together all parts have about as many bytes to read.
void multiply_share(const StepContext& context, std::span<const Linear> linears, const Activations& x, int part);

}  // namespace inlay::cpu
