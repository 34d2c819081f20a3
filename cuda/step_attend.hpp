// Attention of each row over the positions of its sequence up to its own, straight on the KV pages.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>

#include "cuda/activations.hpp"
#include "cuda/pass_state.hpp"

namespace inlay::cuda {

inline constexpr int kMostHeadSize = 256;
inline constexpr int kMostSplits = 16;        // of a sequence, for one head
inline constexpr int kMostPartialRows = 128;  // of a launch: rows whose parts are kept

/// There is a kernel for heads of up to so many values each.
inline constexpr std::array kKernelDims = {32, 64, 80, 96, 128, kMostHeadSize};
/// Of the kernel for heads of so many values.
[[nodiscard]] constexpr int kernel_dims(int head_size) {
  for (const int dims : kKernelDims) {
    if (head_size <= dims) return dims;
  }
  return kMostHeadSize;
}

/// A range of a head in memory: the largest score, the sum of weights, two unused, the sums of weighted values.
inline constexpr int kFirstSum = 4;
[[nodiscard]] constexpr int floats_of_range(int head_size) { return kFirstSum + kernel_dims(head_size); }

struct AttendArgs {
  PassState state;
  KvLayout layout;
  int layer = 0;
  int n_heads = 0;
  int n_rows = 0;
  int first_row = 0;             // of a launch; set by attend
  int group_heads = 0;           // query heads that share a key head; set by attend
  int chunk_heads = 0;           // of a block, at most; set by attend
  int n_chunks = 1;              // of a group; set by attend
  float inverse_chunks = 1.0F;   // set by attend
  int n_stages = 0;              // tiles of a block that are on their way together; set by attend
  int shared_bytes = 0;          // that a block can have on the device (MultiplyLimits)
  float scale = 1.0F;            // of the scores
  const float* query = nullptr;  // [n_rows, n_heads, head_size]
  float* out = nullptr;          // the same, or null for nothing but quantised_out
  QuantisedRows quantised_out;   // the same, if it is for a quantised matrix; heads then have a multiple of 32 columns
  // Of one row: it does not wait for the kernels before, but for the words of its queries (arrival.cuh) and for the
  // row's own keys and values here, [2][n_kv_heads][row_bytes]; or null, and they are in the pages.
  const std::byte* relay = nullptr;
  float* partial = nullptr;     // [kMostPartialRows, n_heads, kMostSplits, floats_of_range]
  unsigned* arrived = nullptr;  // [kMostPartialRows, n_heads], zeros; zeros again afterwards
};

/// Once on the current device for the layout and shared memory of `args`, before the first launch: loads the kernel.
cudaError_t prepare_attend(const AttendArgs& args);

/// Asynchronous. A row's result depends on its own sequence alone.
cudaError_t attend(const AttendArgs& args, cudaStream_t stream);

}  // namespace inlay::cuda
