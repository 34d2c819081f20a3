#include "cpu/steps.hpp"

namespace inlay::cpu {
namespace {

void attend(const StepContext& context, int layer, int index, int kv_head, float* scratch) {
  const ModelSpec& spec = context.plan.spec;
  const Row& row = context.batch.rows[static_cast<std::size_t>(index)];
  const std::size_t first = static_cast<std::size_t>(index) * static_cast<std::size_t>(spec.query_length()) +
                            static_cast<std::size_t>(kv_head * spec.group() * spec.head_size);
  AttentionArgs args;
  args.query = context.buffers.query.data() + first;
  args.group = spec.group();
  args.head_size = spec.head_size;
  args.scale = spec.attention_scale;
  args.pages = context.pages[static_cast<std::size_t>(row.sequence)];
  args.key_offset = context.kv.key_offset(layer, kv_head);
  args.value_offset = context.kv.value_offset(layer, kv_head);
  args.n_positions = row.position + 1;
  args.out = context.buffers.attended.data() + first;
  args.scratch = scratch;
  context.kernels.attend(args);
}

}  // namespace

void run_attend(const Step& step, const StepContext& context) {
  const int n_kv_heads = context.plan.spec.n_kv_heads;
  const int n_items = context.n_rows() * n_kv_heads;
  const int n_parts = context.pool.size();
  context.pool.run([&](int part) {
    float* scratch =
        context.buffers.attention_scratch.data() + static_cast<std::size_t>(part) * context.buffers.attention_stride;
    // Later rows see more positions: dealt out in turn, all parts get as much.
    for (int item = part; item < n_items; item += n_parts) {
      attend(context, step.layer, item / n_kv_heads, item % n_kv_heads, scratch);
    }
  });
}

}  // namespace inlay::cpu
