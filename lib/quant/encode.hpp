// Plain encoders of every weight format: for the tools, the tests and small models made in memory.
#pragma once

#include <cstddef>

#include "quant/formats.hpp"

namespace inlay {

/// Encodes x[weights] (a multiple of the format's block) to `blocks`, row_bytes(format, weights) bytes without
/// alignment. Scales are chosen for the least squared error, with a penalty for large single errors; weights are the
/// nearest that their scale allows. `format` must be one that format_info knows.
///
/// F32 copies; F16 and BF16 round to nearest even as IEEE 754 says, infinities and NaN included. In the quantised
/// formats NaN becomes the format's nearest to zero, and infinities and values beyond the largest scale (65504) the
/// largest that their block can express; a block so small that its scale is below half of 2^-24 becomes zeros.
void encode_row(Format format, const float* x, std::size_t weights, std::byte* blocks);

}  // namespace inlay
