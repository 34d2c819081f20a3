// The scales and minimums in the header of a record's row (record.hpp), by the granule: number i of class c. A
// granule's weights are d * scale * quant + d_minimum * minimum.
#pragma once

#include <cuda_fp16.h>

#include "cuda/lane_weights.cuh"
#include "cuda/record.hpp"

namespace inlay::cuda {
namespace detail {

/// Byte i of a word.
__device__ __forceinline__ int unsigned_byte(unsigned word, int i) {
  return static_cast<int>(__byte_perm(word, 0, 0x4440U | static_cast<unsigned>(i)));
}
/// The same with its sign: prmt copies the sign of byte i where bit 3 of a selector is set (PTX ISA, "prmt").
__device__ __forceinline__ int signed_byte(unsigned word, int i) {
  int byte;
  asm("prmt.b32 %0, %1, 0, %2;" : "=r"(byte) : "r"(word), "r"(0x8880U + static_cast<unsigned>(i) * 0x1111U));
  return byte;
}
__device__ __forceinline__ float lower_half(unsigned v) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(v)));
}
__device__ __forceinline__ float upper_half(unsigned v) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(v >> 16)));
}
/// Half i of two words.
__device__ __forceinline__ float half_at(unsigned low, unsigned high, int i) {
  return lower_half(__byte_perm(low, high, 0x10U + static_cast<unsigned>(i) * 0x22U));
}

}  // namespace detail

template <class Format, Scales kScales = Record<Format>::kScales>
struct RowScales;

/// Six bits each of scale and minimum, packed as in the file (quant/packed_scales.hpp).
template <class Format>
struct RowScales<Format, Scales::kSixBits> {
  float d;
  float d_minimum;
  unsigned scales[2];    // bytes of granules 4 i ... 4 i + 3
  unsigned minimums[2];  // the same
  __device__ __forceinline__ RowScales(const uint4 (&header)[1], unsigned /*halves*/)
      : d(detail::lower_half(header[0].x)), d_minimum(-detail::upper_half(header[0].x)) {
    const uint4& h = header[0];
    scales[0] = h.y & 0x3F3F3F3FU;
    minimums[0] = h.z & 0x3F3F3F3FU;
    scales[1] = (h.w & 0x0F0F0F0FU) | ((h.y >> 2) & 0x30303030U);
    minimums[1] = ((h.w >> 4) & 0x0F0F0F0FU) | ((h.z >> 2) & 0x30303030U);
  }
  __device__ __forceinline__ float scale(int c, int i) const {
    return static_cast<float>(detail::unsigned_byte(scales[i], c));
  }
  __device__ __forceinline__ float minimum(int c, int i) const {
    return static_cast<float>(detail::unsigned_byte(minimums[i], c));
  }
};

/// Bytes with a sign.
template <class Format>
struct RowScales<Format, Scales::kBytes> {
  float d;
  uint4 bytes;
  __device__ __forceinline__ RowScales(const uint4 (&header)[1], unsigned halves)
      : d(detail::lower_half(halves)), bytes(header[0]) {}
  __device__ __forceinline__ float scale(int c, int i) const {
    return static_cast<float>(detail::signed_byte(detail::word(bytes, i), c));
  }
};

/// Four bits each of scale and minimum in a byte.
template <class Format>
struct RowScales<Format, Scales::kNibbles> {
  float d;
  float d_minimum;
  uint4 bytes;
  __device__ __forceinline__ RowScales(const uint4 (&header)[1], unsigned halves)
      : d(detail::lower_half(halves)), d_minimum(-detail::upper_half(halves)), bytes(header[0]) {}
  __device__ __forceinline__ float scale(int c, int i) const {
    return static_cast<float>(detail::unsigned_byte(detail::word(bytes, i), c) & 15);
  }
  __device__ __forceinline__ float minimum(int c, int i) const {
    return static_cast<float>(detail::unsigned_byte(detail::word(bytes, i), c) >> 4);
  }
};

/// Halves of scale.
template <class Format>
struct RowScales<Format, Scales::kHalves> {
  static constexpr float d = 1.0F;
  uint4 halves;
  __device__ __forceinline__ RowScales(const uint4 (&header)[1], unsigned /*halves*/) : halves(header[0]) {}
  __device__ __forceinline__ float scale(int c, int i) const {
    return detail::half_at(detail::word(halves, 2 * i), detail::word(halves, 2 * i + 1), c);
  }
};

/// Halves of scale and of minimum.
template <class Format>
struct RowScales<Format, Scales::kTwoHalves> {
  static constexpr float d = 1.0F;
  static constexpr float d_minimum = 1.0F;
  uint4 halves[2];
  __device__ __forceinline__ RowScales(const uint4 (&header)[2], unsigned /*halves*/) : halves{header[0], header[1]} {}
  __device__ __forceinline__ float scale(int c, int i) const { return at(halves[0], c, i); }
  __device__ __forceinline__ float minimum(int c, int i) const { return at(halves[1], c, i); }

 private:
  static __device__ __forceinline__ float at(const uint4& v, int c, int i) {
    return detail::half_at(detail::word(v, 2 * i), detail::word(v, 2 * i + 1), c);
  }
};

}  // namespace inlay::cuda
