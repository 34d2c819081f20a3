#include <array>
#include <span>

#include "cpu/linear.hpp"
#include "cpu/steps.hpp"

namespace inlay::cpu {

void run_feed_forward(const Step& step, const StepContext& context) {
  const Plan& plan = context.plan;
  const TensorTable& tensors = plan.tensors;
  Buffers& buffers = context.buffers;
  const auto length = static_cast<std::size_t>(plan.spec.feed_forward_length);
  const std::array<Linear, 2> linears = {
      Linear{&context.weights.matrix(step.matrix), tensors.vector_data(step.bias), buffers.gate.data(), length},
      Linear{&context.weights.matrix(step.second), tensors.vector_data(step.second_bias), buffers.up.data(), length}};

  const InputRows input = normalize_input(context, tensors.vector_data(step.norm), wants_quantized(linears));
  // Gate and up have the same rows, so a unit has both sides of its activations.
  for_row_units(context, std::span(linears).first(1), [&](const RowUnits::Unit& unit, int part) {
    for (const Linear& linear : linears) multiply(context, linear, input, unit.rows, part);
    for (int row = 0; row < input.n_rows; ++row) {
      const std::size_t first = static_cast<std::size_t>(row) * length + static_cast<std::size_t>(unit.rows.begin);
      context.kernels.gated_activation(plan.spec.arch->activation, buffers.gate.data() + first,
                                       buffers.up.data() + first, unit.rows.end - unit.rows.begin,
                                       buffers.gate.data() + first);
    }
  });
}

}  // namespace inlay::cpu
