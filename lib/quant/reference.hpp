// Plain decoders of every weight format: the oracle that kernels are tested against, and the embedding lookup.
#pragma once

#include <cstddef>

#include "quant/formats.hpp"

namespace inlay {

/// Decodes `weights` weights (a multiple of the format's block) from `blocks` to `out[weights]`. `blocks` needs no
/// alignment. `format` must be one that format_info knows.
void decode_row(Format format, const std::byte* blocks, std::size_t weights, float* out);

}  // namespace inlay
