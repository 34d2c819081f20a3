// Makes the public Tokenizer's implementation from a model file's metadata.
#pragma once

#include <memory>

#include <inlay/result.hpp>
#include <inlay/tokenizer.hpp>

#include "gguf/gguf.hpp"

namespace inlay {

/// Reads `tokenizer.ggml.*`. Everything is copied: the file may go away. kInvalidModel for contradictory or malformed
/// vocabularies (ids out of range, wrong types, arrays of different lengths), kUnsupported for a tokenizer model or
/// pre-tokenizer that inlay does not know.
Result<std::shared_ptr<const Tokenizer::Impl>> load_tokenizer(const gguf::File& file);

}  // namespace inlay
