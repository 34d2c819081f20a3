// Attention of each row over the positions of its sequence up to its own, straight on the KV pages.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "cuda/pass_state.hpp"

namespace inlay::cuda {

inline constexpr int kMostHeadSize = 256;
inline constexpr int kMostSplits = 64;        // of a sequence, for one head
inline constexpr int kMostPartialRows = 512;  // rows times splits of a pass

struct AttendArgs {
  PassState state;
  KvLayout layout;
  int layer = 0;
  int n_heads = 0;
  int n_rows = 0;
  int n_splits = 1;              // of the grid; a short sequence uses fewer
  float scale = 1.0F;            // of the scores
  const float* query = nullptr;  // [n_rows, n_heads, head_size]
  float* out = nullptr;          // the same
  float* partial = nullptr;      // [n_rows, n_heads, n_splits, 4 + head_size]
  unsigned* arrived = nullptr;   // [n_rows, n_heads], zeros; zeros again afterwards
};

/// Splits of a row's positions that fill the device when there are few rows; n_rows times as many are at most
/// kMostPartialRows (with more rows than that there is one).
[[nodiscard]] int choose_splits(const KvLayout& layout, int n_heads, int n_rows, int n_processors);

/// Asynchronous. A row's result depends on its own sequence alone, given n_splits.
cudaError_t attend(const AttendArgs& args, cudaStream_t stream);

}  // namespace inlay::cuda
