// Keys and values as a lane reads them.
#pragma once

#include <cuda_fp16.h>

#include <cstddef>

#include "cuda/arrival.cuh"

namespace inlay::cuda::attention {

inline constexpr int kColumns = 8;           // of a head, a lane

/// Eight neighbours of a key or value.
struct Columns {
  float v[kColumns];
};

template <bool kQuantised>
struct Packed;

template <>
struct Packed<false> {
  uint4 bits;
  __device__ __forceinline__ void load(const std::byte* row, int col, int /*head_size*/) {
    bits = *reinterpret_cast<const uint4*>(row + 2 * col);
  }
  /// What may not be there yet.
  __device__ __forceinline__ bool load_strong(const std::byte* row, int col, int /*head_size*/) {
    load_words(bits, row + 2 * col);
    return !is_absent(bits);
  }
  __device__ __forceinline__ Columns values() const {
    Columns c;
    const unsigned words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 two = __half22float2(*reinterpret_cast<const __half2*>(&words[i]));
      c.v[2 * i] = two.x, c.v[2 * i + 1] = two.y;
    }
    return c;
  }
};

template <>
struct Packed<true> {
  uint2 bits;
  float scale;
  __device__ __forceinline__ void load(const std::byte* row, int col, int head_size) {
    bits = *reinterpret_cast<const uint2*>(row + col);
    scale = __half2float(*reinterpret_cast<const __half*>(row + head_size + col / 32 * 2));
  }
  __device__ __forceinline__ bool load_strong(const std::byte* row, int col, int head_size) {
    unsigned short half = 0;
    load_words(bits, row + col);
    load_half(half, row + head_size + col / 32 * 2);
    scale = __half2float(__ushort_as_half(half));
    return !is_absent(bits) && !is_absent(half);
  }
  __device__ __forceinline__ Columns values() const {
    Columns c;
    const unsigned words[2] = {bits.x, bits.y};
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      c.v[i] = scale * static_cast<float>(static_cast<int>(words[i / 4] << (24 - 8 * (i % 4))) >> 24);
    }
    return c;
  }
};

}  // namespace inlay::cuda::attention
