// The choice of the highest output of each row, by the product that makes them (MultiplyChoice).
#pragma once

#include "cuda/hand_out.cuh"
#include "cuda/lane.cuh"
#include "cuda/last_block.cuh"
#include "cuda/logit_key.cuh"
#include "cuda/multiply.hpp"
#include "cuda/record.hpp"

namespace inlay::cuda {

/// Notes outputs of a row of the pass. Half a warp has those of a panel, or none, and then `best` is null. All lanes of
/// a warp take part.
__device__ __forceinline__ void keep_best(unsigned long long* best, int col, float value) {
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned half = 0xFFFFU << (lane & 16U);
  const LogitKey key = best == nullptr ? 0 : key_of(value, col);
  const auto upper = static_cast<unsigned>(key >> 32);
  const unsigned highest = __reduce_max_sync(half, upper);
  const unsigned lower = __reduce_max_sync(half, upper == highest ? static_cast<unsigned>(key) : 0U);
  if (lane % kPanelRows == 0 && best != nullptr) atomicMax(best, static_cast<LogitKey>(highest) << 32 | lower);
}

/// When a block has noted all its outputs: the last one hands out the tokens. By all threads of every block.
__device__ __forceinline__ void hand_out_best(const MultiplyChoice& choice, int n_rows) {
  const auto row = static_cast<int>(threadIdx.x);
  const TokenPlace place(choice.state, min(row, n_rows - 1), n_rows);
  if (!is_last(choice.n_arrived, gridDim.x * gridDim.y) || row >= n_rows) return;
  place.hand_out(token_of(__ldcg(choice.best + row)));
  choice.best[row] = 0;
}

}  // namespace inlay::cuda
