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

/// The rows that a step's matrices read: the first n_bulk of them are bulk rows.
struct InputRows {
  const float* values = nullptr;  // [n_rows, n_cols]
  int n_rows = 0;
  int n_cols = 0;
  int n_bulk = 0;
};

/// All rows of the batch.
InputRows input_rows(const StepContext& context, const float* values, int n_cols);

/// Writes row `row` into the buffers in the form that matrices of quantised weights read: rounded for a bulk row, else
/// quantised.
void quantize_row(const StepContext& context, const InputRows& input, int row);

/// Row `to` of buffers.normalized, which `input` describes, becomes the normalised row `from` of buffers.x, quantised
/// too if wanted.
void normalize_row(const StepContext& context, const float* norm, const InputRows& input, int from, int to,
                   bool quantized);

/// The same for every row of the batch, in place. Returns what matrices are to read.
InputRows normalize_input(const StepContext& context, const float* norm, bool quantized);

/// Row range `range` of a linear for all rows of the input: what one thread, which runs part `part`, does.
void multiply(const StepContext& context, const Linear& linear, const InputRows& input, Range range, int part);

/// The share of a matrix's rows that a part computes.
Range share_of(const WeightMatrix& matrix, int part, int n_parts);

/// Multiplies the part's share of several linears: together all parts have about as many bytes to read.
void multiply_share(const StepContext& context, std::span<const Linear> linears, const InputRows& input, int part);

}  // namespace inlay::cpu
