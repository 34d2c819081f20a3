// The first step of a pass.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/activations.hpp"
#include "cuda/pass_state.hpp"
#include "cuda/record.hpp"

namespace inlay::cuda {

struct EmbedArgs {
  DeviceMatrix table;  // [vocab_size, n_cols]
  PassState state;
  const double* frequencies = nullptr;  // [n_pairs] (model/rope.hpp)
  double magnitude = 1.0;
  int n_pairs = 0;
  int n_rows = 0;
  float2* rope = nullptr;  // [n_rows, n_pairs] cosine and sine of the rows' positions, times the magnitude
  float* x = nullptr;      // [n_rows, n_cols]
  // x times the weights of the norm that follows it, if it is for a quantised matrix.
  QuantisedRows quantised_x;
  const float* next_norm = nullptr;  // [n_cols], or null
  void* blank = nullptr;             // a set of places to be filled with absent words (relay.hpp), or null
  std::size_t blank_bytes = 0;       // a multiple of 16
};

/// x = rows of the embedding table, and the rotations of the rows' positions. Asynchronous.
cudaError_t embed(const EmbedArgs& args, cudaStream_t stream);

}  // namespace inlay::cuda
