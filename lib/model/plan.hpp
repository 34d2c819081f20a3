// A model as a flat list of fused steps: data that every backend runs, whatever the architecture.
#pragma once

#include <cstdint>
#include <vector>

#include <inlay/result.hpp>

#include "gguf/gguf.hpp"
#include "model/model_spec.hpp"
#include "model/rope.hpp"
#include "model/tensor_table.hpp"

namespace inlay {

/// E: embedding_length, Q: query_length, KV: kv_length, F: feed_forward_length, V: vocab_size. `x` is the residual
/// stream, one vector [E] per row.
enum class StepKind : std::int32_t {
  kEmbed,    ///< x = row `token` of matrix [V, E]
  kQkv,      ///< q, k, v = matrix, second, third of norm(x), plus biases; q and k rotated; k and v into the KV cache
  kAttend,   ///< a = softmax(q . keys * scale) . values, per head, over the positions up to the row's own
  kProject,  ///< x += matrix [E, Q] of a, plus bias
  kFeedForward,  ///< h = activation(matrix of norm(x)) * (second of norm(x)), plus biases, [F]
  kDown,         ///< x += matrix [E, F] of h, plus bias
  kHead,         ///< logits = matrix [V, E] of norm(x), only for the rows that want them
};

/// One step. Tensors that a kind does not have are kNoTensor.
struct Step {
  StepKind kind = StepKind::kEmbed;
  std::int32_t layer = 0;
  VectorId norm = kNoTensor;    // [E]
  MatrixId matrix = kNoTensor;  // embedding; q [Q, E]; output projection; gate [F, E]; down; head
  MatrixId second = kNoTensor;  // k [KV, E]; up [F, E]
  MatrixId third = kNoTensor;   // v [KV, E]
  VectorId bias = kNoTensor;    // of `matrix`, as long as it has rows
  VectorId second_bias = kNoTensor;
  VectorId third_bias = kNoTensor;
};

struct Plan {
  ModelSpec spec;
  RopeAngles rope;
  TensorTable tensors;
  std::vector<Step> steps;
};

/// Finds and checks every tensor that the model needs. The plan points into the file's bytes.
Result<Plan> make_plan(const gguf::File& file);

}  // namespace inlay
