#include "fuzz/small_model.hpp"

#include <array>
#include <cmath>
#include <vector>

#include "quant/encode.hpp"

namespace inlay::fuzz {
namespace {

class Builder {
 public:
  Builder(gguf::Writer& writer, const SmallModelOptions& options) : writer_(writer), options_(options) {}

  void build() {
    const std::uint32_t n_embedding = options_.embedding_length;
    add_keys();
    matrix("token_embd", n_embedding, options_.vocab_rows);
    for (std::uint32_t layer = 0; layer < options_.layers; ++layer) add_layer("blk." + std::to_string(layer) + ".");
    vector("output_norm.weight", n_embedding);
    if (options_.has_head) matrix("output", n_embedding, options_.vocab_rows);
  }

 private:
  void add_keys() {
    writer_.add_string("general.architecture", "llama");
    writer_.add_uint32("llama.block_count", options_.layers);
    writer_.add_uint32("llama.context_length", 256);
    writer_.add_uint32("llama.embedding_length", options_.embedding_length);
    writer_.add_uint32("llama.feed_forward_length", options_.feed_forward_length);
    writer_.add_uint32("llama.attention.head_count", options_.n_heads);
    writer_.add_uint32("llama.attention.head_count_kv", options_.n_kv_heads);
    writer_.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5F);
    if (options_.rope_scaling_type.empty()) return;
    writer_.add_string("llama.rope.scaling.type", options_.rope_scaling_type);
    writer_.add_float32("llama.rope.scaling.factor", 2.0F);
    writer_.add_uint32("llama.rope.scaling.original_context_length", 64);
  }

  void add_layer(const std::string& prefix) {
    const std::uint32_t n_embedding = options_.embedding_length;
    const std::uint32_t kv_length = n_embedding / options_.n_heads * options_.n_kv_heads;
    vector(prefix + "attn_norm.weight", n_embedding);
    matrix(prefix + "attn_q", n_embedding, n_embedding);
    matrix(prefix + "attn_k", n_embedding, kv_length);
    matrix(prefix + "attn_v", n_embedding, kv_length);
    if (options_.has_biases) {
      vector(prefix + "attn_q.bias", n_embedding);
      vector(prefix + "attn_k.bias", kv_length);
      vector(prefix + "attn_v.bias", kv_length);
    }
    matrix(prefix + "attn_output", n_embedding, n_embedding);
    vector(prefix + "ffn_norm.weight", n_embedding);
    matrix(prefix + "ffn_gate", n_embedding, options_.feed_forward_length);
    matrix(prefix + "ffn_up", n_embedding, options_.feed_forward_length);
    matrix(prefix + "ffn_down", options_.feed_forward_length, n_embedding);
  }

  /// In (-1, 1).
  float random() {
    state_ = state_ * 1664525U + 1013904223U;
    return static_cast<float>(state_ >> 8U) * 0x1.0p-23F - 1.0F;
  }

  void matrix(const std::string& name, std::uint64_t n_in, std::uint64_t n_out) {
    std::vector<float> weights(n_in * n_out);
    for (float& weight : weights) weight = random() * 2.0F / std::sqrt(static_cast<float>(n_in));
    std::vector<std::byte> blocks(row_bytes(options_.format, weights.size()));
    encode_row(options_.format, weights.data(), weights.size(), blocks.data());
    const std::array<std::uint64_t, 2> dims = {n_in, n_out};
    writer_.add_tensor(name + ".weight", options_.format, dims, std::move(blocks));
  }

  void vector(const std::string& name, std::uint64_t size) {
    std::vector<float> values(size);
    for (float& value : values) value = 1.0F + random() * 0.1F;
    writer_.add_tensor(name, Format::kF32, {size}, std::as_bytes(std::span(values)));
  }

  gguf::Writer& writer_;
  const SmallModelOptions& options_;
  std::uint32_t state_ = 1;
};

constexpr std::int32_t kNormal = 1;
constexpr std::int32_t kUnknown = 2;
constexpr std::int32_t kControl = 3;
constexpr std::int32_t kUserDefined = 4;

}  // namespace

void add_small_model(gguf::Writer& writer, const SmallModelOptions& options) { Builder(writer, options).build(); }

void add_small_spm(gguf::Writer& writer) {
  const std::string space = "\xE2\x96\x81";
  const std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", space, "h",     "e",
                                           "l",     "o",   "he",   "ll",  "hello", "[x]"};
  const std::vector<float> scores = {0, 0, 0, -9, -8, -7, -6, -5, -1, -2, -3, 0};
  writer.add_string("tokenizer.ggml.model", "llama");
  writer.add_strings("tokenizer.ggml.tokens", tokens);
  writer.add_float32s("tokenizer.ggml.scores", scores);
  writer.add_int32s("tokenizer.ggml.token_type",
                    std::vector<std::int32_t>{kUnknown, kControl, kControl, kNormal, kNormal, kNormal, kNormal, kNormal,
                                              kNormal, kNormal, kNormal, kUserDefined});
  writer.add_uint32("tokenizer.ggml.bos_token_id", 1);
  writer.add_uint32("tokenizer.ggml.eos_token_id", 2);
  writer.add_bool("tokenizer.ggml.add_bos_token", true);
}

void add_small_bpe(gguf::Writer& writer) {
  const std::vector<std::string> tokens = {"h",  "e",  "l",    "o",     "\xC4\xA0", "w",
                                           "he", "ll", "hell", "hello", "[x]",      "<|endoftext|>"};
  writer.add_string("tokenizer.ggml.model", "gpt2");
  writer.add_string("tokenizer.ggml.pre", "gpt-2");
  writer.add_strings("tokenizer.ggml.tokens", tokens);
  writer.add_int32s("tokenizer.ggml.token_type",
                    std::vector<std::int32_t>{kNormal, kNormal, kNormal, kNormal, kNormal, kNormal, kNormal, kNormal,
                                              kNormal, kNormal, kUserDefined, kControl});
  writer.add_strings("tokenizer.ggml.merges", std::vector<std::string>{"h e", "l l", "he ll", "hell o"});
  writer.add_uint32("tokenizer.ggml.eos_token_id", 11);
}

}  // namespace inlay::fuzz
