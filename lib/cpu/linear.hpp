// What all steps with matrices share: preparing their input, and multiplying.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "cpu/shared_units.hpp"
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
  constexpr int kUnitRows = 8;
  const SharedUnits shared(context.buffers.cursors, (n_rows + kUnitRows - 1) / kUnitRows);
  context.pool.run([&](int part) {
    for (int unit = shared.take(part); unit >= 0; unit = shared.take(part)) {
      for (int row = unit * kUnitRows; row < std::min((unit + 1) * kUnitRows, n_rows); ++row) body(row);
    }
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

/// Row range `range` of a linear for all rows of the input: what the thread that runs part `part` does.
void multiply(const StepContext& context, const Linear& linear, const InputRows& input, Range range, int part);

/// The rows of one or more matrices, one behind the other, in units that a thread computes at a time.
class RowUnits {
 public:
  struct Unit {
    std::size_t matrix;  // index
    Range rows;
  };

  /// `most_rows`: of a unit, a multiple of kPanelRows.
  RowUnits(std::span<const Linear> linears, int n_parts, int most_rows);
  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] Unit operator[](int i) const;

 private:
  [[nodiscard]] int units_of(const Linear& linear) const;

  std::span<const Linear> linears_;
  int rows_ = 0;  // of a unit
  int size_ = 0;
};

/// Calls body(unit, part) on all threads, for units that together are all rows of the matrices.
template <class Body>
void for_row_units(const StepContext& context, std::span<const Linear> linears, const Body& body) {
  constexpr int kRoundOfPanels = kBulkPanels * kPanelRows;  // what bulk rows are multiplied with at a time
  constexpr int kFewPanels = 2 * kPanelRows;                // of a size to be read in 10 us
  const RowUnits units(linears, context.pool.size(), context.n_rows() > 1 ? kRoundOfPanels : kFewPanels);
  const SharedUnits shared(context.buffers.cursors, units.size());
  context.pool.run([&](int part) {
    for (int unit = shared.take(part); unit >= 0; unit = shared.take(part)) body(units[unit], part);
  });
}

}  // namespace inlay::cpu
