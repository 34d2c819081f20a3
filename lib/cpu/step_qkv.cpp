#include <array>

#include "cpu/linear.hpp"
#include "cpu/steps.hpp"

namespace inlay::cpu {
namespace {

/// Rotates the row's queries and keys, and puts keys and values into the row's KV page.
void rotate_and_store(const StepContext& context, int layer, int index) {
  const ModelSpec& spec = context.plan.spec;
  const KernelTable& kernels = context.kernels;
  const auto i = static_cast<std::size_t>(index);
  const Row& row = context.batch.rows[i];
  float* query = context.buffers.query.data() + i * static_cast<std::size_t>(spec.query_length());
  float* key = context.buffers.key.data() + i * static_cast<std::size_t>(spec.kv_length());
  const float* value = context.buffers.value.data() + i * static_cast<std::size_t>(spec.kv_length());
  const int n_pairs = spec.rope.n_pairs;
  const float* cosines = context.buffers.cosines.data() + i * static_cast<std::size_t>(n_pairs);
  const float* sines = context.buffers.sines.data() + i * static_cast<std::size_t>(n_pairs);
  kernels.rope(query, spec.n_heads, spec.head_size, n_pairs, spec.rope.kind, cosines, sines);
  kernels.rope(key, spec.n_kv_heads, spec.head_size, n_pairs, spec.rope.kind, cosines, sines);

  const std::span<const PageId> table = context.batch.page_tables[static_cast<std::size_t>(row.sequence)];
  std::byte* page = context.kv.page(table[static_cast<std::size_t>(row.position / kKvPagePositions)]);
  const auto head_size = static_cast<std::size_t>(spec.head_size);
  for (int head = 0; head < spec.n_kv_heads; ++head) {
    const std::size_t first = static_cast<std::size_t>(head) * head_size;
    KvStoreArgs args;
    args.key = key + first;
    args.value = value + first;
    args.head_size = spec.head_size;
    args.format = context.kv.format();
    args.keys = page + context.kv.key_offset(layer, head);
    args.values = page + context.kv.value_offset(layer, head);
    args.slot = row.position % kKvPagePositions;
    kernels.store_kv(args);
  }
}

}  // namespace

void run_qkv(const Step& step, const StepContext& context) {
  const Plan& plan = context.plan;
  const TensorTable& tensors = plan.tensors;
  Buffers& buffers = context.buffers;
  const auto query_length = static_cast<std::size_t>(plan.spec.query_length());
  const auto kv_length = static_cast<std::size_t>(plan.spec.kv_length());
  const std::array<Linear, 3> linears = {
      Linear{&context.weights.matrix(step.matrix), tensors.vector_data(step.bias), buffers.query.data(), query_length},
      Linear{&context.weights.matrix(step.second), tensors.vector_data(step.second_bias), buffers.key.data(),
             kv_length},
      Linear{&context.weights.matrix(step.third), tensors.vector_data(step.third_bias), buffers.value.data(),
             kv_length}};

  const InputRows input = normalize_input(context, tensors.vector_data(step.norm), wants_quantized(linears));
  for_row_units(context, linears, [&](const RowUnits::Unit& unit, int part) {
    multiply(context, linears[unit.matrix], input, unit.rows, part);
  });
  for_rows(context, input.n_rows, [&](int row) { rotate_and_store(context, step.layer, row); });
}

}  // namespace inlay::cpu
