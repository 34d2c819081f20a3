// What all threads of a block find out together. Fixed orders: the same values give the same bits.
#pragma once

#include "cuda/lane.cuh"
#include "cuda/record.hpp"

namespace inlay::cuda {

struct Highest {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

struct Lowest {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};

struct Plus {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};

/// `op`, which is commutative, over the values of all threads, in every thread. Every thread of the block calls it.
template <int kThreads, class T, class Op>
__device__ __forceinline__ T reduce_block(T value, const Op& op) {
  constexpr int kWarps = kThreads / kWarp;
  __shared__ T of_warps[kWarps];
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = op(value, __shfl_xor_sync(kAllLanes, value, offset));
  __syncthreads();  // `of_warps` of the call before
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = of_warps[threadIdx.x % kWarps];
  for (int offset = kWarps / 2; offset > 0; offset /= 2) value = op(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

/// The sum of the values of the threads before this one; `total`: of all. Every thread of the block calls it.
template <int kThreads, class T>
__device__ __forceinline__ T scan_block(T value, T& total) {
  constexpr int kWarps = kThreads / kWarp;
  __shared__ T of_warps[kWarps];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  T sum = value;
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const T other = __shfl_up_sync(kAllLanes, sum, offset);
    if (lane >= offset) sum += other;
  }
  __syncthreads();  // `of_warps` of the call before
  if (lane == kWarp - 1) of_warps[warp] = sum;
  __syncthreads();
  T before{};
  total = T{};
  for (int i = 0; i < kWarps; ++i) {
    if (i == warp) before = total;
    total += of_warps[i];
  }
  sum = __shfl_up_sync(kAllLanes, sum, 1);
  return lane == 0 ? before : before + sum;
}

}  // namespace inlay::cuda
