#include <algorithm>
#include <array>

#include "cpu/linear.hpp"
#include "cpu/steps.hpp"

namespace inlay::cpu {
namespace {

/// The indices of the next rows that want logits, from `begin` on.
struct Wanted {
  std::array<int, kHeadRows> rows = {};
  int count = 0;
};

Wanted next_wanted(std::span<const Row> rows, int& cursor) {
  Wanted wanted;
  for (; cursor < static_cast<int>(rows.size()) && wanted.count < kHeadRows; ++cursor) {
    if (rows[static_cast<std::size_t>(cursor)].want == Want::kLogits) {
      wanted.rows[static_cast<std::size_t>(wanted.count++)] = cursor;
    }
  }
  return wanted;
}

}  // namespace

void run_head(const Step& step, const StepContext& context) {
  const Plan& plan = context.plan;
  const WeightMatrix& matrix = context.weights.matrix(step.matrix);
  const auto vocab_size = static_cast<std::size_t>(matrix.n_rows);
  const Linear linear{&matrix, plan.tensors.vector_data(step.bias), context.buffers.logits.data(), vocab_size};
  const bool quantized = wants_quantized({&linear, 1});

  int cursor = 0;
  std::size_t done = 0;
  for (Wanted wanted = next_wanted(context.batch.rows, cursor); wanted.count > 0;
       wanted = next_wanted(context.batch.rows, cursor)) {
    const InputRows input = {context.buffers.normalized.data(), wanted.count, matrix.n_cols, 0};
    for_rows(context, wanted.count, [&](int i) {
      normalize_row(context, plan.tensors.vector_data(step.norm), input, wanted.rows[static_cast<std::size_t>(i)], i,
                    quantized);
    });
    const std::span<float* const> targets = context.output.logits.subspan(done, static_cast<std::size_t>(wanted.count));
    for_row_units(context, {&linear, 1}, [&](const RowUnits::Unit& unit, int part) {
      multiply(context, linear, input, unit.rows, part);
      for (std::size_t i = 0; i < targets.size(); ++i) {
        const float* logits = linear.out + i * vocab_size;
        std::copy(logits + unit.rows.begin, logits + unit.rows.end, targets[i] + unit.rows.begin);
      }
    });
    done += targets.size();
  }
}

}  // namespace inlay::cpu
