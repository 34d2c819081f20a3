// A made-up SentencePiece vocabulary.
#pragma once

#include <cstdint>

#include "gguf/writer.hpp"

namespace make_model {

/// Adds the tokenizer.ggml.* keys: specials, byte tokens, and every short string of letters, alone and after a space,
/// until there are `size` tokens. Shorter pieces have the higher scores, so that text merges into the longer ones.
void add_vocabulary(inlay::gguf::Writer& writer, std::uint32_t size);

}  // namespace make_model
