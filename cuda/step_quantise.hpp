// Quantises rows of activations that their kernel left as floats.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/activations.hpp"

namespace inlay::cuda {

/// to = x times the norm's weights. x: [n_rows, n_cols], n_cols a multiple of 32; norm: [n_cols] or null. Asynchronous.
cudaError_t quantise(const float* x, const float* norm, int n_rows, int n_cols, const QuantisedRows& to,
                     cudaStream_t stream);

}  // namespace inlay::cuda
