// The smallest complete model: a file of three kilobytes, of which a fuzzer can change any byte ten thousand times a
// second.
#pragma once

#include <cstdint>
#include <string>

#include "gguf/writer.hpp"
#include "quant/formats.hpp"

namespace inlay::fuzz {

struct SmallModelOptions {
  std::uint32_t layers = 1;
  std::uint32_t embedding_length = 8;  // a multiple of the format's block
  std::uint32_t n_heads = 2;
  std::uint32_t n_kv_heads = 1;
  std::uint32_t feed_forward_length = 8;  // the same
  std::uint32_t vocab_rows = 12;          // of the embedding: at least the tokenizer's 12 tokens
  Format format = Format::kF32;           // of the matrices
  bool has_head = false;                  // output.weight, else the embedding serves
  bool has_biases = false;                // of the attention
  std::string rope_scaling_type = {};
};

/// Keys and tensors without a tokenizer.
void add_small_model(gguf::Writer& writer, const SmallModelOptions& options);

/// A SentencePiece vocabulary of 12 tokens, without byte tokens.
void add_small_spm(gguf::Writer& writer);

/// A byte-level vocabulary of 12 tokens, for few of the bytes.
void add_small_bpe(gguf::Writer& writer);

}  // namespace inlay::fuzz
