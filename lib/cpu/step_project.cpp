#include "cpu/linear.hpp"
#include "cpu/steps.hpp"

namespace inlay::cpu {

/// The output projection of the attention, and the down matrix of the feed-forward.
void run_project(const Step& step, const StepContext& context) {
  const TensorTable& tensors = context.plan.tensors;
  const WeightMatrix& matrix = context.weights.matrix(step.matrix);
  const auto length = static_cast<std::size_t>(matrix.n_rows);
  Buffers& buffers = context.buffers;
  const Linear linear{&matrix, tensors.vector_data(step.bias), buffers.projected.data(), length};

  const float* values = step.kind == StepKind::kDown ? buffers.gate.data() : buffers.attended.data();
  const InputRows input = input_rows(context, values, matrix.n_cols);
  if (wants_quantized({&linear, 1})) {
    for_rows(context, input.n_rows, [&](int row) { quantize_row(context, input, row); });
  }
  for_row_units(context, {&linear, 1}, [&](const RowUnits::Unit& unit, int part) {
    multiply(context, linear, input, unit.rows, part);
    for (int row = 0; row < input.n_rows; ++row) {
      const std::size_t first = static_cast<std::size_t>(row) * length + static_cast<std::size_t>(unit.rows.begin);
      context.kernels.add(buffers.projected.data() + first, unit.rows.end - unit.rows.begin, buffers.x.data() + first);
    }
  });
}

}  // namespace inlay::cpu
