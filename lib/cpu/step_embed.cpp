#include "cpu/linear.hpp"
#include "cpu/steps.hpp"
#include "model/rope.hpp"
#include "quant/reference.hpp"

namespace inlay::cpu {

/// Also computes the rows' rope angles, which every layer uses.
void run_embed(const Step& step, const StepContext& context) {
  const Matrix& table = context.plan.tensors.matrix(step.matrix);
  const auto length = static_cast<std::size_t>(table.cols);
  const auto n_pairs = static_cast<std::size_t>(context.plan.spec.rope.n_pairs);
  for_rows(context, context.n_rows(), [&](int index) {
    const auto i = static_cast<std::size_t>(index);
    const Row& row = context.batch.rows[i];
    const std::byte* blocks = table.data + static_cast<std::size_t>(row.token) * table.row_bytes();
    decode_row(table.format, blocks, length, context.buffers.x.data() + i * length);
    rope_at(context.plan.rope, row.position, context.buffers.cosines.data() + i * n_pairs,
            context.buffers.sines.data() + i * n_pairs);
  });
}

}  // namespace inlay::cpu
