// What a model is, as numbers: an architecture's row plus what its file says, validated.
#pragma once

#include <cstdint>
#include <string>

#include <inlay/result.hpp>

#include "gguf/gguf.hpp"
#include "model/arch_table.hpp"
#include "model/model_kinds.hpp"

namespace inlay {

enum class RopeScaling : std::int32_t {
  kNone,
  kLinear,  ///< positions divided by `factor` (Chen et al. 2023)
  kYarn,    ///< low frequencies interpolated, high ones kept, with a magnitude correction (Peng et al. 2023)
};

/// Rotary position embedding, as the file describes it.
struct RopeSpec {
  RopeKind kind = RopeKind::kNormal;
  int n_pairs = 0;  // pairs of a head that are rotated; 2 * n_pairs <= head_size
  double base = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  // Of YaRN only:
  int original_context = 0;
  double extrapolation = 1.0;
  double attention_factor = 1.0;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
};

/// All sizes are positive and small enough that the product of any two fits an int64.
struct ModelSpec {
  const ArchRow* arch = nullptr;
  std::string name;  // general.name, may be empty
  int n_layers = 0;
  int embedding_length = 0;
  int feed_forward_length = 0;
  int n_heads = 0;
  int n_kv_heads = 0;  // divides n_heads
  int head_size = 0;
  int vocab_size = 0;
  int context_length = 0;
  float norm_epsilon = 0.0F;
  float attention_scale = 0.0F;
  RopeSpec rope;

  [[nodiscard]] int query_length() const noexcept { return n_heads * head_size; }
  [[nodiscard]] int kv_length() const noexcept { return n_kv_heads * head_size; }
  [[nodiscard]] int group() const noexcept { return n_heads / n_kv_heads; }
};

/// kUnsupported for an architecture, or a variation of one, that inlay does not run; kInvalidModel for a missing key or
/// a number out of range. The message names the key.
Result<ModelSpec> read_model_spec(const gguf::File& file);

}  // namespace inlay
