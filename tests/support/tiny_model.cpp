#include "support/tiny_model.hpp"

#include <array>
#include <cmath>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string_view>

#include "quant/encode.hpp"

namespace inlay::test {
namespace {

using gguf::Writer;

// The standard deviations below keep activations of order one through the layers: a row of n weights of deviation
// g / sqrt(n) turns unit inputs into outputs of deviation g.
constexpr float kQueryKeyGain = 1.4F;  // scores of deviation 2: neither uniform nor one-hot attention
constexpr float kGain = 1.0F;
constexpr float kLogitGain = 3.0F;
constexpr float kNormSpread = 0.1F;  // of norm weights around one
constexpr float kBiasSpread = 0.2F;

class ModelBuilder {
 public:
  explicit ModelBuilder(const TinyModelOptions& options)
      : options_(options),
        random_(options.seed),
        head_size_(options.head_size != 0 ? options.head_size : options.embedding_length / options.n_heads),
        query_size_(options.n_heads * head_size_),
        kv_size_(options.n_kv_heads * head_size_) {}

  Writer build() {
    add_keys();
    add_tiny_tokenizer(writer_, options_.vocab_size);
    const std::uint32_t n_embedding = options_.embedding_length;
    matrix("token_embd", options_.formats.token_embedding, n_embedding, options_.vocab_size, kLogitGain);
    for (std::uint32_t layer = 0; layer < options_.layers; ++layer) {
      const std::string prefix = "blk." + std::to_string(layer) + ".";
      add_attention(prefix);
      add_feed_forward(prefix);
    }
    vector("output_norm.weight", n_embedding, 1.0F, kNormSpread);
    if (options_.head == TinyHead::kOwn) {
      matrix("output", options_.formats.output, n_embedding, options_.vocab_size, kLogitGain);
    }
    if (options_.rope_factors) add_rope_factors();
    return std::move(writer_);
  }

 private:
  void add_keys();
  void add_rope_keys();
  void add_attention(const std::string& prefix);
  void add_feed_forward(const std::string& prefix);
  void add_rope_factors();

  [[nodiscard]] std::uint32_t rope_dimensions() const {
    return options_.rope_dimensions != 0 ? options_.rope_dimensions : head_size_;
  }

  std::vector<float> gaussian(std::size_t count, float mean, float deviation) {
    std::vector<float> values(count);
    // A sum of uniforms, not std::normal_distribution: its values differ between standard libraries.
    for (float& value : values) {
      float sum = -6.0F;
      for (int i = 0; i < 12; ++i) sum += static_cast<float>(random_() >> 8U) * 0x1.0p-24F;
      value = mean + deviation * sum;
    }
    return values;
  }

  void matrix(const std::string& name, Format format, std::uint64_t n_in, std::uint64_t n_out, float gain) {
    const FormatInfo info = format_info(format);
    if (info.block_weights == 0 || n_in % static_cast<std::uint64_t>(info.block_weights) != 0) {
      throw std::invalid_argument(name + ": a row of " + std::to_string(n_in) +
                                  " weights is no whole number of blocks");
    }
    const auto weights = gaussian(n_in * n_out, 0.0F, gain / std::sqrt(static_cast<float>(n_in)));
    std::vector<std::byte> blocks(row_bytes(format, weights.size()));
    encode_row(format, weights.data(), weights.size(), blocks.data());
    const std::array<std::uint64_t, 2> dims = {n_in, n_out};
    writer_.add_tensor(name + ".weight", format, dims, std::move(blocks));
  }

  void vector(const std::string& name, std::uint64_t size, float mean, float deviation) {
    vector(name, gaussian(size, mean, deviation));
  }
  void vector(const std::string& name, const std::vector<float>& values) {
    writer_.add_tensor(name, Format::kF32, {values.size()}, std::as_bytes(std::span(values)));
  }

  TinyModelOptions options_;
  std::mt19937 random_;
  std::uint32_t head_size_;
  std::uint32_t query_size_;
  std::uint32_t kv_size_;
  Writer writer_;
};

void ModelBuilder::add_keys() {
  writer_.add_string("general.architecture", "llama");
  writer_.add_string("general.type", "model");
  writer_.add_string("general.name", "Tiny");
  writer_.add_uint32("llama.block_count", options_.layers);
  writer_.add_uint32("llama.context_length", options_.context_length);
  writer_.add_uint32("llama.embedding_length", options_.embedding_length);
  writer_.add_uint32("llama.feed_forward_length", options_.feed_forward_length);
  writer_.add_uint32("llama.attention.head_count", options_.n_heads);
  writer_.add_uint32("llama.attention.head_count_kv", options_.n_kv_heads);
  writer_.add_float32("llama.attention.layer_norm_rms_epsilon", options_.epsilon);
  if (options_.head_size != 0) {
    writer_.add_uint32("llama.attention.key_length", options_.head_size);
    writer_.add_uint32("llama.attention.value_length", options_.head_size);
  }
  writer_.add_uint32("general.file_type", 0);
  writer_.add_uint32("llama.vocab_size", options_.vocab_size);
  add_rope_keys();
  writer_.add_uint32("general.quantization_version", 2);
}

void ModelBuilder::add_rope_keys() {
  writer_.add_float32("llama.rope.freq_base", options_.rope_freq_base);
  writer_.add_uint32("llama.rope.dimension_count", rope_dimensions());
  if (options_.rope_scaling_type.empty()) return;
  writer_.add_string("llama.rope.scaling.type", options_.rope_scaling_type);
  writer_.add_float32("llama.rope.scaling.factor", options_.rope_scaling_factor);
  writer_.add_uint32("llama.rope.scaling.original_context_length", options_.original_context);
}

void ModelBuilder::add_attention(const std::string& prefix) {
  const std::uint32_t n_embedding = options_.embedding_length;
  vector(prefix + "attn_norm.weight", n_embedding, 1.0F, kNormSpread);
  matrix(prefix + "attn_q", options_.formats.query_key, n_embedding, query_size_, kQueryKeyGain);
  matrix(prefix + "attn_k", options_.formats.query_key, n_embedding, kv_size_, kQueryKeyGain);
  matrix(prefix + "attn_v", options_.formats.value, n_embedding, kv_size_, kGain);
  matrix(prefix + "attn_output", options_.formats.attention_output, query_size_, n_embedding, kGain);
  if (!options_.attention_biases) return;
  vector(prefix + "attn_q.bias", query_size_, 0.0F, kBiasSpread);
  vector(prefix + "attn_k.bias", kv_size_, 0.0F, kBiasSpread);
  vector(prefix + "attn_v.bias", kv_size_, 0.0F, kBiasSpread);
  vector(prefix + "attn_output.bias", n_embedding, 0.0F, kBiasSpread);
}

void ModelBuilder::add_feed_forward(const std::string& prefix) {
  const std::uint32_t n_embedding = options_.embedding_length;
  const std::uint32_t n_hidden = options_.feed_forward_length;
  vector(prefix + "ffn_norm.weight", n_embedding, 1.0F, kNormSpread);
  matrix(prefix + "ffn_gate", options_.formats.gate_up, n_embedding, n_hidden, kGain);
  matrix(prefix + "ffn_up", options_.formats.gate_up, n_embedding, n_hidden, kGain);
  matrix(prefix + "ffn_down", options_.formats.down, n_hidden, n_embedding, kGain);
  if (!options_.feed_forward_biases) return;
  vector(prefix + "ffn_gate.bias", n_hidden, 0.0F, kBiasSpread);
  vector(prefix + "ffn_up.bias", n_hidden, 0.0F, kBiasSpread);
  vector(prefix + "ffn_down.bias", n_embedding, 0.0F, kBiasSpread);
}

/// Like those of Llama 3.1: fast frequencies stay, slow ones are divided by up to 8.
void ModelBuilder::add_rope_factors() {
  std::vector<float> factors(rope_dimensions() / 2);
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const float position = static_cast<float>(i) / static_cast<float>(factors.size());
    factors[i] = position < 0.5F ? 1.0F : 1.0F + 14.0F * (position - 0.5F);
  }
  vector("rope_freqs.weight", factors);
}

// SentencePiece pieces in the order of their merges; "_" stands for U+2581, the mark of a space.
constexpr std::string_view kMerges =
    "_t he in _a er on _the re _w or an _s ld hel lo _h _wor ing nd _and ou at hello _o _world is of _hello _c ca _cat "
    "_sat th _on";
constexpr const char* kCharacters = "etaoinsrhldcumfpgwybvkxjqz";

// Token types of tokenizer.ggml.token_type.
enum : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUnused = 5, kByte = 6 };

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<std::int32_t> types;
  void add(const std::string& token, float score, std::int32_t type) {
    tokens.push_back(token);
    scores.push_back(score);
    types.push_back(type);
  }
};

std::string byte_token(unsigned byte) {
  constexpr const char* kDigits = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4U] + kDigits[byte & 15U] + ">";
}

std::string with_space_mark(const std::string& piece) {
  return piece.front() == '_' ? "\xE2\x96\x81" + piece.substr(1) : piece;
}

Vocabulary tiny_vocabulary(std::uint32_t size) {
  Vocabulary vocabulary;
  vocabulary.add("<unk>", 0.0F, kUnknown);
  vocabulary.add("<s>", 0.0F, kControl);
  vocabulary.add("</s>", 0.0F, kControl);
  for (unsigned byte = 0; byte < 256; ++byte) vocabulary.add(byte_token(byte), 0.0F, kByte);
  float score = 0.0F;
  std::istringstream merges{std::string(kMerges)};
  for (std::string merge; merges >> merge;) vocabulary.add(with_space_mark(merge), score--, kNormal);
  vocabulary.add(with_space_mark("_"), score--, kNormal);
  for (const char* character = kCharacters; *character != '\0'; ++character) {
    vocabulary.add(std::string(1, *character), score--, kNormal);
  }
  for (std::size_t i = vocabulary.tokens.size(); i < size; ++i) {
    vocabulary.add("[PAD" + std::to_string(i) + "]", -10000.0F, kUnused);
  }
  return vocabulary;
}

}  // namespace

void add_tiny_tokenizer(Writer& writer, std::uint32_t vocab_size) {
  const Vocabulary vocabulary = tiny_vocabulary(vocab_size);
  if (vocabulary.tokens.size() != vocab_size) {
    throw std::invalid_argument("the vocabulary has at least " + std::to_string(vocabulary.tokens.size()) + " tokens");
  }
  writer.add_string("tokenizer.ggml.model", "llama");
  writer.add_string("tokenizer.ggml.pre", "default");
  writer.add_strings("tokenizer.ggml.tokens", vocabulary.tokens);
  writer.add_float32s("tokenizer.ggml.scores", vocabulary.scores);
  writer.add_int32s("tokenizer.ggml.token_type", vocabulary.types);
  writer.add_uint32("tokenizer.ggml.bos_token_id", 1);
  writer.add_uint32("tokenizer.ggml.eos_token_id", 2);
  writer.add_uint32("tokenizer.ggml.unknown_token_id", 0);
  writer.add_bool("tokenizer.ggml.add_bos_token", true);
  writer.add_bool("tokenizer.ggml.add_eos_token", false);
}

Writer make_tiny_model_writer(const TinyModelOptions& options) { return ModelBuilder(options).build(); }

std::vector<std::byte> make_tiny_model(const TinyModelOptions& options) {
  return make_tiny_model_writer(options).finish();
}

}  // namespace inlay::test
