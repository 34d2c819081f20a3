// How the lanes of a warp share a product with tensor cores (mma.cuh), for batches of one, four or eight tokens.
//
// An operand B has eight columns: four pairs of a coarse and a fine part of activations (activations.hpp,
// float_operand.cuh). Of four tokens every pair takes one. A single token has all pairs, and each of them takes a share
// of the record's granules (the columns that have a scale in common) and zeros elsewhere: one sum then holds several
// granules' products side by side, and every lane scales its own.
//
// Granule q belongs to class q % 4. The products of a class are added up in the order of q, classes as (0 + 1) +
// (2 + 3), whichever lanes hold them: so a token's result has the same bits whatever the width of the batch.
#pragma once

#include <cuda_runtime.h>

#include "cuda/record.hpp"

namespace inlay::cuda {

inline constexpr unsigned kAllLanes = 0xFFFFFFFFU;
inline constexpr int kTileTokens = 4;  // of an operand

__device__ __forceinline__ int warp_of_block() { return static_cast<int>(threadIdx.x / kWarp); }
__device__ __forceinline__ int lane_of_warp() { return static_cast<int>(threadIdx.x % kWarp); }

template <int kTokens>
struct Lane {
  static constexpr int kShares = kTokens == 1 ? 4 : 1;  // pairs of a token
  static constexpr int kClasses = 4 / kShares;          // of a lane
  static constexpr int kTiles = (kTokens + kTileTokens - 1) / kTileTokens;

  unsigned lane;

  [[nodiscard]] __device__ __forceinline__ int row() const { return to_int(lane / 4); }  // g: of the sums; and g + 8
  [[nodiscard]] __device__ __forceinline__ int quarter() const { return to_int(lane % 4); }  // t: of a step's columns

  // Of the operand, whose column is g.
  [[nodiscard]] __device__ __forceinline__ bool is_fine() const { return lane / 4 % 2 != 0; }
  [[nodiscard]] __device__ __forceinline__ int input_token() const { return token_of(lane / 8); }
  [[nodiscard]] __device__ __forceinline__ int input_share() const { return share_of(lane / 8); }

  // Of the sums, whose pair of columns is t.
  [[nodiscard]] __device__ __forceinline__ int token() const { return token_of(lane % 4); }
  [[nodiscard]] __device__ __forceinline__ int share() const { return share_of(lane % 4); }

  /// The class number `which` of the lane that has a share.
  [[nodiscard]] static __device__ __forceinline__ int class_of(int share, int which) { return share + kShares * which; }

 private:
  [[nodiscard]] static __device__ __forceinline__ int to_int(unsigned x) { return static_cast<int>(x); }
  [[nodiscard]] static __device__ __forceinline__ int token_of(unsigned pair) {
    return kTokens == 1 ? 0 : to_int(pair);
  }
  [[nodiscard]] static __device__ __forceinline__ int share_of(unsigned pair) {
    return kTokens == 1 ? to_int(pair) : 0;
  }
};

/// Makes the compiler find a value here, and not later where it is used.
__device__ __forceinline__ void pin(int& value) { asm volatile("" : "+r"(value)); }
__device__ __forceinline__ void pin(float& value) { asm volatile("" : "+f"(value)); }

/// Makes the kernel find values before it goes on: without that, the compiler moves the work behind a wait. Never
/// sleeps for long; `values`: any combination of them.
__device__ __forceinline__ void settle(unsigned values) {
  asm volatile(
      "{\n"
      " .reg .pred p;\n"
      " setp.eq.u32 p, %0, 0x7FC12345;\n"
      " @p nanosleep.u32 0;\n"
      "}" ::"r"(values));
}

/// The sum of what belongs to the classes.
__device__ __forceinline__ float sum_of_classes(float v0, float v1, float v2, float v3) {
  return (v0 + v1) + (v2 + v3);
}

/// The sum over classes, which lie in lanes that differ in the bits from kFirstBit on, and in v.
template <int kTokens, int kFirstBit>
__device__ __forceinline__ float join_classes(const float (&v)[Lane<kTokens>::kClasses]) {
  if constexpr (kTokens == 1) {
    const float two = v[0] + __shfl_xor_sync(kAllLanes, v[0], kFirstBit);
    return two + __shfl_xor_sync(kAllLanes, two, 2 * kFirstBit);
  } else {
    return sum_of_classes(v[0], v[1], v[2], v[3]);
  }
}

}  // namespace inlay::cuda
