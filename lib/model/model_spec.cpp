#include "model/model_spec.hpp"

#include <cmath>
#include <string>

#include "base/try.hpp"

namespace inlay {
namespace {

constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kMaxLength = 1 << 20;  // of a vector: embedding, feed-forward, heads
constexpr std::int64_t kMaxHeadSize = 4096;
constexpr std::int64_t kMaxContext = 1 << 28;

Status invalid(const std::string& key, const std::string& what) {
  return {StatusCode::kInvalidModel, "metadata \"" + key + "\": " + what};
}

/// Reads the keys of one architecture: "llama.block_count" for "block_count".
class Keys {
 public:
  Keys(const gguf::File& file, std::string_view arch) : file_(file), prefix_(std::string(arch) + ".") {}

  [[nodiscard]] std::string full(std::string_view key) const { return prefix_ + std::string(key); }

  /// An integer in [low, high]. Without a fallback the key must be there.
  Result<int> integer(std::string_view key, std::int64_t low, std::int64_t high,
                      std::optional<int> fallback = std::nullopt) const {
    const std::string name = full(key);
    INLAY_TRY_ASSIGN(const std::optional<std::int64_t> value, file_.find_integer(name));
    if (!value) {
      if (fallback) return *fallback;
      return invalid(name, "is missing");
    }
    if (*value < low || *value > high) {
      return invalid(
          name, "is " + std::to_string(*value) + ", expected " + std::to_string(low) + " to " + std::to_string(high));
    }
    return static_cast<int>(*value);
  }

  /// A finite number in [low, high].
  Result<double> number(std::string_view key, double low, double high, std::optional<double> fallback) const {
    const std::string name = full(key);
    INLAY_TRY_ASSIGN(const std::optional<double> value, file_.find_float(name));
    if (!value) {
      if (fallback) return *fallback;
      return invalid(name, "is missing");
    }
    if (!(*value >= low && *value <= high)) {
      return invalid(
          name, "is " + std::to_string(*value) + ", expected " + std::to_string(low) + " to " + std::to_string(high));
    }
    return *value;
  }

  [[nodiscard]] const gguf::File& file() const { return file_; }

 private:
  const gguf::File& file_;
  std::string prefix_;
};

Result<RopeScaling> read_scaling_kind(const Keys& keys) {
  const std::string name = keys.full("rope.scaling.type");
  INLAY_TRY_ASSIGN(const std::optional<std::string_view> type, keys.file().find_string(name));
  if (!type) {  // files from before the type key have only a factor, which then means linear
    INLAY_TRY_ASSIGN(const std::optional<double> factor, keys.file().find_float(keys.full("rope.scale_linear")));
    return factor ? RopeScaling::kLinear : RopeScaling::kNone;
  }
  if (*type == "none") return RopeScaling::kNone;
  if (*type == "linear") return RopeScaling::kLinear;
  if (*type == "yarn") return RopeScaling::kYarn;
  return Status(StatusCode::kUnsupported,
                "metadata \"" + name + "\": rope scaling \"" + std::string(*type) + "\" is not supported");
}

Result<RopeSpec> read_rope(const Keys& keys, const ModelSpec& spec) {
  RopeSpec rope;
  rope.kind = spec.arch->rope;
  INLAY_TRY_ASSIGN(const int n_rotated, keys.integer("rope.dimension_count", 2, spec.head_size, spec.head_size));
  if (n_rotated % 2 != 0) return invalid(keys.full("rope.dimension_count"), "is odd");
  rope.n_pairs = n_rotated / 2;
  INLAY_TRY_ASSIGN(rope.base, keys.number("rope.freq_base", 1.0, 1e12, 10000.0));
  INLAY_TRY_ASSIGN(rope.scaling, read_scaling_kind(keys));
  if (rope.scaling == RopeScaling::kNone) return rope;

  INLAY_TRY_ASSIGN(const double old_factor, keys.number("rope.scale_linear", 1e-3, 1e6, 1.0));
  INLAY_TRY_ASSIGN(rope.factor, keys.number("rope.scaling.factor", 1e-3, 1e6, old_factor));
  if (rope.scaling == RopeScaling::kLinear) return rope;

  INLAY_TRY_ASSIGN(rope.original_context,
                   keys.integer("rope.scaling.original_context_length", 1, kMaxContext, spec.context_length));
  INLAY_TRY_ASSIGN(rope.attention_factor, keys.number("rope.scaling.attn_factor", 0.0, 1e3, 1.0));
  INLAY_TRY_ASSIGN(rope.extrapolation, keys.number("rope.scaling.yarn_ext_factor", 0.0, 1.0, 1.0));
  INLAY_TRY_ASSIGN(rope.beta_fast, keys.number("rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32.0));
  INLAY_TRY_ASSIGN(rope.beta_slow, keys.number("rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1.0));
  return rope;
}

Result<void> read_heads(const Keys& keys, ModelSpec& spec) {
  INLAY_TRY_ASSIGN(spec.n_heads, keys.integer("attention.head_count", 1, kMaxLength));
  INLAY_TRY_ASSIGN(spec.n_kv_heads, keys.integer("attention.head_count_kv", 1, spec.n_heads, spec.n_heads));
  if (spec.n_heads % spec.n_kv_heads != 0) {
    return invalid(keys.full("attention.head_count_kv"), "is " + std::to_string(spec.n_kv_heads) +
                                                             ", which does not divide the " +
                                                             std::to_string(spec.n_heads) + " heads");
  }
  const int even_share = spec.embedding_length / spec.n_heads;
  INLAY_TRY_ASSIGN(spec.head_size, keys.integer("attention.key_length", 1, kMaxHeadSize,
                                                even_share > 0 ? std::optional(even_share) : std::nullopt));
  INLAY_TRY_ASSIGN(const int value_length, keys.integer("attention.value_length", 1, kMaxHeadSize, spec.head_size));
  if (value_length != spec.head_size) {
    return Status(StatusCode::kUnsupported, "metadata \"" + keys.full("attention.value_length") +
                                                "\": values of another size than the keys are not supported");
  }
  if (spec.head_size > kMaxHeadSize || std::int64_t{spec.head_size} * spec.n_heads > kMaxLength) {
    return invalid(keys.full("attention.head_count"), "the heads are too large: " + std::to_string(spec.n_heads) +
                                                          " of " + std::to_string(spec.head_size));
  }
  spec.attention_scale = 1.0F / std::sqrt(static_cast<float>(spec.head_size));
  return {};
}

Result<void> refuse_experts(const Keys& keys) {
  INLAY_TRY_ASSIGN(const int n_experts, keys.integer("expert_count", 0, kMaxLength, 0));
  if (n_experts == 0) return {};
  return Status(StatusCode::kUnsupported,
                "metadata \"" + keys.full("expert_count") + "\": mixtures of experts are not supported");
}

Result<int> read_vocab_size(const gguf::File& file) {
  const gguf::Tensor* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr) return Status(StatusCode::kInvalidModel, "tensor \"token_embd.weight\": is missing");
  if (embedding->dims[1] == 0 || embedding->dims[1] > static_cast<std::uint64_t>(1) << 28U) {
    return Status(StatusCode::kInvalidModel, "tensor \"token_embd.weight\": a vocabulary of " +
                                                 std::to_string(embedding->dims[1]) + " tokens is out of range");
  }
  return static_cast<int>(embedding->dims[1]);
}

}  // namespace

Result<ModelSpec> read_model_spec(const gguf::File& file) {
  INLAY_TRY_ASSIGN(const std::optional<std::string_view> arch, file.find_string("general.architecture"));
  if (!arch) return invalid("general.architecture", "is missing");
  ModelSpec spec;
  spec.arch = find_arch(*arch);
  if (spec.arch == nullptr) {
    return Status(StatusCode::kUnsupported,
                  "metadata \"general.architecture\": \"" + std::string(*arch) + "\" is not supported");
  }
  INLAY_TRY_ASSIGN(const std::optional<std::string_view> name, file.find_string("general.name"));
  spec.name = std::string(name.value_or(""));

  const Keys keys(file, *arch);
  INLAY_TRY(refuse_experts(keys));
  INLAY_TRY_ASSIGN(spec.n_layers, keys.integer("block_count", 1, kMaxLayers));
  INLAY_TRY_ASSIGN(spec.context_length, keys.integer("context_length", 1, kMaxContext));
  INLAY_TRY_ASSIGN(spec.embedding_length, keys.integer("embedding_length", 1, kMaxLength));
  INLAY_TRY_ASSIGN(spec.feed_forward_length, keys.integer("feed_forward_length", 1, kMaxLength));
  INLAY_TRY(read_heads(keys, spec));
  INLAY_TRY_ASSIGN(const double epsilon, keys.number("attention.layer_norm_rms_epsilon", 0.0, 1.0, std::nullopt));
  spec.norm_epsilon = static_cast<float>(epsilon);
  INLAY_TRY_ASSIGN(spec.rope, read_rope(keys, spec));
  INLAY_TRY_ASSIGN(spec.vocab_size, read_vocab_size(file));
  return spec;
}

}  // namespace inlay
