// Small complete models of the llama family, made in memory: random weights and a real tokenizer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gguf/writer.hpp"
#include "quant/formats.hpp"

namespace inlay::test {

/// The formats of the matrices. Norms, biases and frequency factors are F32, as in real files. A matrix's row length
/// must be a multiple of its format's block.
struct TinyModelFormats {
  Format token_embedding = Format::kF32;
  Format query_key = Format::kF32;
  Format value = Format::kF32;
  Format attention_output = Format::kF32;
  Format gate_up = Format::kF32;
  Format down = Format::kF32;
  Format output = Format::kF32;

  static TinyModelFormats all(Format format) { return {format, format, format, format, format, format, format}; }
};

enum class TinyHead { kTied, kOwn };

/// Every field is written as told; nothing but what is needed to build the file is checked.
struct TinyModelOptions {
  std::uint32_t layers = 2;
  std::uint32_t embedding_length = 64;
  std::uint32_t n_heads = 4;
  std::uint32_t n_kv_heads = 2;
  std::uint32_t head_size = 0;  // 0: embedding_length / n_heads, and no key_length / value_length keys
  std::uint32_t feed_forward_length = 128;
  std::uint32_t vocab_size = 320;  // at least kTinyVocabSize; what is above it is filled with unused tokens
  std::uint32_t context_length = 256;
  TinyModelFormats formats = {};
  TinyHead head = TinyHead::kOwn;
  bool attention_biases = false;
  bool feed_forward_biases = false;
  bool rope_factors = false;  // the tensor rope_freqs.weight
  float rope_freq_base = 10000.0F;
  std::uint32_t rope_dimensions = 0;     // 0: the whole head, and the key is written all the same
  std::string rope_scaling_type = {};    // "linear", "yarn" or "": no rope.scaling keys
  float rope_scaling_factor = 2.0F;      // written with a type
  std::uint32_t original_context = 128;  // the same
  float epsilon = 1e-5F;
  std::uint32_t seed = 1;
};

/// <unk>, <s>, </s>, 256 byte tokens, letters, a few words.
inline constexpr std::uint32_t kTinyVocabSize = 320;

/// The whole GGUF file. Throws std::invalid_argument for options that no file can hold (a row length that is no
/// multiple of the format's block, a vocabulary smaller than kTinyVocabSize).
std::vector<std::byte> make_tiny_model(const TinyModelOptions& options);

/// The same before it is finished, for tests that add or damage something.
gguf::Writer make_tiny_model_writer(const TinyModelOptions& options);

/// Adds the `tokenizer.ggml.*` keys alone.
void add_tiny_tokenizer(gguf::Writer& writer, std::uint32_t vocab_size);

}  // namespace inlay::test
