// The last step of a pass that draws its tokens on the device: what runtime/sampler.cpp does with the same logits,
// without penalties. The sums of weights are added in another order, so that a token may differ where the last bits of
// a sum decide.
//
// Candidates fall into bins by how far they are below the best one, which is nearly a sort. Only the bins where top-k,
// top-p and the draw end are sorted then, in the memory of one block.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "cuda/pass_state.hpp"

namespace inlay::cuda {

inline constexpr int kSampleBins = 2048;
inline constexpr int kSampleSlice = 1024;  // logits of a row that one block looks at

/// A sum of weights in [0, 1] that is the same in every order: integers in units of 2^-35 and 2^-70. Vocabularies have
/// at most 2^28 tokens (lib/model), so neither wraps around.
struct WeightSum {
  unsigned long long high;
  unsigned long long low;
};

struct SampleBin {
  unsigned n;         // candidates
  unsigned n_placed;  // of them in SampleArgs::keys
  WeightSum plain;    // at temperature 1, if top-p is on
  WeightSum drawn;    // at the row's temperature
};

/// Of the logits of a slice.
struct Extremes {
  float highest;
  float lowest;  // but -infinity
};

struct SampleArgs {
  PassState state;
  const float* logits = nullptr;  // [n, vocab_size]
  int vocab_size = 0;
  int n = 0;                           // rows that want a token, at most kLogitRows
  Extremes* extremes = nullptr;        // [kLogitRows, slices_of(V)]
  SampleBin* bins = nullptr;           // [kLogitRows, kSampleBins]
  unsigned long long* keys = nullptr;  // [kLogitRows, V] the candidates (LogitKey), bin after bin
};

constexpr int slices_of(int vocab_size) { return (vocab_size + kSampleSlice - 1) / kSampleSlice; }

/// Draws a token for each row as PassState::choices says, moves its random stream on, and hands the tokens out as
/// `choose` does. Asynchronous.
cudaError_t sample(const SampleArgs& args, cudaStream_t stream);

}  // namespace inlay::cuda
