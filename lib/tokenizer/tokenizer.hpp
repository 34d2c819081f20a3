// Makes the public Tokenizer's implementation from a model file's metadata.
#pragma once

#include <cstddef>
#include <memory>

#include <inlay/result.hpp>
#include <inlay/tokenizer.hpp>

#include "gguf/gguf.hpp"

namespace inlay {

/// Reads `tokenizer.ggml.*`. Everything is copied: the file may go away. kInvalidModel for contradictory or malformed
/// vocabularies (ids out of range, wrong types, arrays of different lengths), kUnsupported for a tokenizer model or
/// pre-tokenizer that inlay does not know. Rows of the embedding beyond the file's list of tokens, `n_rows` in all, are
/// tokens without text: a model may choose them.
Result<std::shared_ptr<const Tokenizer::Impl>> load_tokenizer(const gguf::File& file, std::size_t n_rows = 0);

}  // namespace inlay
