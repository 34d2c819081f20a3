#include "model/plan.hpp"

#include <cmath>
#include <string>

#include "base/try.hpp"

namespace inlay {
namespace {

/// Adds the steps of one layer, looking up its tensors by the names that llama-family files use.
class LayerPlanner {
 public:
  LayerPlanner(const gguf::File& file, Plan& plan, int layer)
      : file_(file), plan_(plan), spec_(plan.spec), layer_(layer), prefix_("blk." + std::to_string(layer) + ".") {}

  Result<void> add_steps() {
    INLAY_TRY(add_qkv());
    plan_.steps.push_back({.kind = StepKind::kAttend, .layer = layer_});
    INLAY_TRY(add_matrix_step(StepKind::kProject, "attn_output", spec_.embedding_length, spec_.query_length()));
    INLAY_TRY(add_feed_forward());
    return add_matrix_step(StepKind::kDown, "ffn_down", spec_.embedding_length, spec_.feed_forward_length);
  }

 private:
  struct Linear {
    MatrixId matrix = kNoTensor;
    VectorId bias = kNoTensor;
  };

  Result<Linear> linear(const std::string& name, int rows, int cols) {
    Linear found;
    INLAY_TRY_ASSIGN(found.matrix, plan_.tensors.matrix(file_, prefix_ + name + ".weight", rows, cols));
    INLAY_TRY_ASSIGN(found.bias, plan_.tensors.optional_vector(file_, prefix_ + name + ".bias", rows));
    return found;
  }

  Result<void> add_qkv() {
    Step step{.kind = StepKind::kQkv, .layer = layer_};
    INLAY_TRY_ASSIGN(step.norm, plan_.tensors.vector(file_, prefix_ + "attn_norm.weight", spec_.embedding_length));
    INLAY_TRY_ASSIGN(const Linear query, linear("attn_q", spec_.query_length(), spec_.embedding_length));
    INLAY_TRY_ASSIGN(const Linear key, linear("attn_k", spec_.kv_length(), spec_.embedding_length));
    INLAY_TRY_ASSIGN(const Linear value, linear("attn_v", spec_.kv_length(), spec_.embedding_length));
    step.matrix = query.matrix, step.bias = query.bias;
    step.second = key.matrix, step.second_bias = key.bias;
    step.third = value.matrix, step.third_bias = value.bias;
    plan_.steps.push_back(step);
    return {};
  }

  Result<void> add_feed_forward() {
    Step step{.kind = StepKind::kFeedForward, .layer = layer_};
    INLAY_TRY_ASSIGN(step.norm, plan_.tensors.vector(file_, prefix_ + "ffn_norm.weight", spec_.embedding_length));
    INLAY_TRY_ASSIGN(const Linear gate, linear("ffn_gate", spec_.feed_forward_length, spec_.embedding_length));
    INLAY_TRY_ASSIGN(const Linear up, linear("ffn_up", spec_.feed_forward_length, spec_.embedding_length));
    step.matrix = gate.matrix, step.bias = gate.bias;
    step.second = up.matrix, step.second_bias = up.bias;
    plan_.steps.push_back(step);
    return {};
  }

  Result<void> add_matrix_step(StepKind kind, const std::string& name, int rows, int cols) {
    INLAY_TRY_ASSIGN(const Linear found, linear(name, rows, cols));
    plan_.steps.push_back({.kind = kind, .layer = layer_, .matrix = found.matrix, .bias = found.bias});
    return {};
  }

  const gguf::File& file_;
  Plan& plan_;
  const ModelSpec& spec_;
  int layer_;
  std::string prefix_;
};

/// Per-pair divisors of the rope frequencies, if the file has them.
Result<RopeAngles> read_rope_angles(const gguf::File& file, const RopeSpec& rope) {
  TensorTable table;
  INLAY_TRY_ASSIGN(const VectorId id, table.optional_vector(file, "rope_freqs.weight", rope.n_pairs));
  if (id == kNoTensor) return make_rope_angles(rope, {});
  const std::vector<float>& factors = table.vectors()[0].values;
  for (const float factor : factors) {
    if (!std::isfinite(factor) || factor <= 0.0F) {
      return Status(StatusCode::kInvalidModel, "tensor \"rope_freqs.weight\": holds a factor that is not positive");
    }
  }
  return make_rope_angles(rope, factors);
}

Result<void> add_head(const gguf::File& file, Plan& plan) {
  Step head{.kind = StepKind::kHead, .layer = plan.spec.n_layers};
  INLAY_TRY_ASSIGN(head.norm, plan.tensors.vector(file, "output_norm.weight", plan.spec.embedding_length));
  // A file without a head of its own ties it to the embedding.
  const char* name = file.find_tensor("output.weight") != nullptr ? "output.weight" : "token_embd.weight";
  INLAY_TRY_ASSIGN(head.matrix, plan.tensors.matrix(file, name, plan.spec.vocab_size, plan.spec.embedding_length));
  INLAY_TRY_ASSIGN(head.bias, plan.tensors.optional_vector(file, "output.bias", plan.spec.vocab_size));
  plan.steps.push_back(head);
  return {};
}

}  // namespace

Result<Plan> make_plan(const gguf::File& file) {
  INLAY_TRY_ASSIGN(ModelSpec spec, read_model_spec(file));
  INLAY_TRY_ASSIGN(RopeAngles rope, read_rope_angles(file, spec.rope));
  Plan plan{std::move(spec), std::move(rope), {}, {}};

  Step embed{.kind = StepKind::kEmbed};
  INLAY_TRY_ASSIGN(embed.matrix,
                   plan.tensors.matrix(file, "token_embd.weight", plan.spec.vocab_size, plan.spec.embedding_length));
  plan.steps.push_back(embed);
  for (int layer = 0; layer < plan.spec.n_layers; ++layer) INLAY_TRY(LayerPlanner(file, plan, layer).add_steps());
  INLAY_TRY(add_head(file, plan));
  return plan;
}

}  // namespace inlay
