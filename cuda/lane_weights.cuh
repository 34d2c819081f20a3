// What a lane holds of a record, and what it makes of it: operand A of the tensor cores, and scales.
#pragma once

#include <cuda_fp16.h>

#include "cuda/input_tile.cuh"
#include "cuda/mma.cuh"
#include "cuda/record.hpp"

namespace inlay::cuda {
namespace detail {

__device__ __forceinline__ unsigned word(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/// The kBits bits at position `from` of every byte, moved to position `to`.
template <int kBits>
__device__ __forceinline__ unsigned field(unsigned bytes, int from, int to) {
  if (kBits == 8) return bytes;
  const unsigned mask = (((1U << kBits) - 1U) << to) * 0x01010101U;
  return (to >= from ? bytes << (to - from) : bytes >> (from - to)) & mask;
}

__device__ __forceinline__ float half_at(const uint4& v, int i) {
  const unsigned bits = word(v, i / 2) >> (16 * (i % 2));
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}
__device__ __forceinline__ float lower_half(unsigned v) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(v)));
}
__device__ __forceinline__ float upper_half(unsigned v) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(v >> 16)));
}

__device__ __forceinline__ int signed_byte(const uint4& v, int i) {
  return static_cast<int>(word(v, i / 4) << (24 - 8 * (i % 4))) >> 24;
}
__device__ __forceinline__ int unsigned_byte(const uint4& v, int i) { return (word(v, i / 4) >> (8 * (i % 4))) & 255; }

}  // namespace detail

/// A lane's part of a record of a quantised format.
template <class Format>
struct LaneWeights {
  using R = Record<Format>;
  uint4 planes[R::kLowVectors + R::kHighVectors];
  uint4 headers[2][R::kHeaderVectors];  // of rows g and g + 8
  unsigned halves[2];

  /// From a record in shared memory.
  __device__ __forceinline__ LaneWeights(const std::byte* record, int lane) {
#pragma unroll
    for (int v = 0; v < R::kLowVectors + R::kHighVectors; ++v) {
      planes[v] = *reinterpret_cast<const uint4*>(record + (v * kWarp + lane) * 16);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = lane / 4 + 8 * half;
#pragma unroll
      for (int v = 0; v < R::kHeaderVectors; ++v) {
        headers[half][v] =
            *reinterpret_cast<const uint4*>(record + R::kHeaderOffset + (row * R::kHeaderVectors + v) * 16);
      }
      const std::byte* at = record + R::kHalvesOffset + row * 2 * R::kHalves;
      if constexpr (R::kHalves == 1) halves[half] = *reinterpret_cast<const unsigned short*>(at);
      if constexpr (R::kHalves == 2) halves[half] = *reinterpret_cast<const unsigned*>(at);
    }
  }

  /// Block b of 32 columns as bytes, times 2^kShift.
  __device__ __forceinline__ uint4 bytes(int b) const {
    uint4 a;
    a.x = combine(b, 0), a.y = combine(b, 1), a.z = combine(b, 2), a.w = combine(b, 3);
    return a;
  }

  /// The same of an odd block of nibbles, times 16.
  __device__ __forceinline__ uint4 upper_nibbles(int b) const {
    const uint4& v = planes[b / 2];
    return {v.x & 0xF0F0F0F0U, v.y & 0xF0F0F0F0U, v.z & 0xF0F0F0F0U, v.w & 0xF0F0F0F0U};
  }

 private:
  __device__ __forceinline__ unsigned combine(int b, int r) const {
    constexpr int kLowBlocks = 8 / R::kLowBits;
    const unsigned low =
        detail::field<R::kLowBits>(detail::word(planes[b / kLowBlocks], r), R::kLowBits * (b % kLowBlocks), R::kShift);
    if constexpr (R::kHighBits == 0) {
      return low;
    } else {
      constexpr int kHighBlocks = 8 / R::kHighBits;
      return low | detail::field<R::kHighBits>(detail::word(planes[R::kLowVectors + b / kHighBlocks], r),
                                               R::kHighBits * (b % kHighBlocks), R::kShift + R::kLowBits);
    }
  }
};

/// A lane's part of a record of floats.
template <class Format>
struct FloatLaneWeights {
  using R = Record<Format>;
  uint4 steps[R::kSteps];
  __device__ __forceinline__ FloatLaneWeights(const std::byte* record, int lane) {
#pragma unroll
    for (int s = 0; s < R::kSteps; ++s) steps[s] = *reinterpret_cast<const uint4*>(record + (s * kWarp + lane) * 16);
  }
};

/// Where a lane reads a tile, and which token its results belong to.
template <int kTokens>
struct TileLane {
  static constexpr int kTiles = (kTokens + kTileTokens - 1) / kTileTokens;  // operands side by side
  const unsigned char* shared;
  TileLayout tile;
  int lane;

  /// Operand B of a step for tokens 4 n ... 4 n + 3. Columns of tokens that are not there repeat others.
  __device__ __forceinline__ uint2 operand(int step, int n) const {
    constexpr int kColumns = 2 * (kTokens < kTileTokens ? kTokens : kTileTokens);
    const int column = lane / 4 % kColumns;
    return *reinterpret_cast<const uint2*>(shared + tile.planes + step * kStepBytes<kTokens> + (n * 8 + column) * 32 +
                                           lane % 4 * 8);
  }
  __device__ __forceinline__ int token(int n) const {
    const int token = n * kTileTokens + lane % 4;
    return token < kTokens ? token : 0;
  }
  __device__ __forceinline__ float scale(int record, int n) const {
    return reinterpret_cast<const float*>(shared + tile.scales)[token(n) * tile.n_records + record];
  }
  __device__ __forceinline__ const unsigned char* sums(int record, int n) const {
    return shared + tile.sums + (record * kTokens + token(n)) * kSumsBytes;
  }
};

/// Sums of the lane's token for rows g and g + 8.
struct RowPair {
  float first = 0.0F;
  float second = 0.0F;
};

namespace detail {

/// Integer sums of products with the coarse and the fine parts.
struct IntSums {
  int coarse[2] = {};
  int fine[2] = {};
  __device__ __forceinline__ void add(const int4& c, int first, int second) {
    coarse[0] += c.x * first, fine[0] += c.y * first;
    coarse[1] += c.z * second, fine[1] += c.w * second;
  }
  /// Adds what is 16 times too much.
  __device__ __forceinline__ void add_sixteenths(const IntSums& other) {
#pragma unroll
    for (int row = 0; row < 2; ++row) coarse[row] += other.coarse[row] >> 4, fine[row] += other.fine[row] >> 4;
  }
  __device__ __forceinline__ float total(int row) const {
    return fmaf(256.0F, static_cast<float>(coarse[row]), static_cast<float>(fine[row]));
  }
};

/// The 6-bit scales and minimums of eight groups as bytes (quant/packed_scales.hpp).
struct SixBitScales {
  uint2 scales;
  uint2 minimums;
  __device__ __forceinline__ explicit SixBitScales(const uint4& header) {
    scales.x = header.y & 0x3F3F3F3FU;
    minimums.x = header.z & 0x3F3F3F3FU;
    scales.y = (header.w & 0x0F0F0F0FU) | ((header.y >> 2) & 0x30303030U);
    minimums.y = ((header.w >> 4) & 0x0F0F0F0FU) | ((header.z >> 2) & 0x30303030U);
  }
  __device__ __forceinline__ int scale(int b) const {
    return static_cast<int>(__byte_perm(b < 4 ? scales.x : scales.y, 0, 0x4440 + b % 4));
  }
  /// The minimums times the sums of 32 columns each.
  __device__ __forceinline__ float minimum(const unsigned char* sums) const {
    const uint2 low = *reinterpret_cast<const uint2*>(sums);
    const uint2 middle = *reinterpret_cast<const uint2*>(sums + 8);
    const uint2 high = *reinterpret_cast<const uint2*>(sums + 16);
    const int total = dot(low) + 128 * dot(middle) + 16384 * dot(high);
    return static_cast<float>(total);
  }

 private:
  __device__ __forceinline__ int dot(const uint2& bytes) const {
    return __dp4a(static_cast<int>(minimums.y), static_cast<int>(bytes.y),
                  __dp4a(static_cast<int>(minimums.x), static_cast<int>(bytes.x), 0));
  }
};

template <int kTokens, class Format>
__device__ __forceinline__ void add_six_bits(const LaneWeights<Format>& w, const TileLane<kTokens>& at, int record,
                                             RowPair (&totals)[TileLane<kTokens>::kTiles]) {
  constexpr int kTiles = TileLane<kTokens>::kTiles;
  const SixBitScales first(w.headers[0][0]);
  const SixBitScales second(w.headers[1][0]);
  IntSums sums[kTiles];
  IntSums odd[kTiles];  // of blocks whose quants stay in the upper half of their bytes: 16 times as much
#pragma unroll
  for (int b = 0; b < 8; ++b) {
    constexpr bool kInPlace = Record<Format>::kHighBits == 0;
    const uint4 a = kInPlace && b % 2 == 1 ? w.upper_nibbles(b) : w.bytes(b);
    const int scale0 = first.scale(b);
    const int scale1 = second.scale(b);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      IntSums& to = kInPlace && b % 2 == 1 ? odd[n] : sums[n];
      to.add(mma_bytes<false>(a, at.operand(record * 8 + b, n)), scale0, scale1);
    }
  }
#pragma unroll
  for (int n = 0; n < kTiles; ++n) sums[n].add_sixteenths(odd[n]);
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    const unsigned char* column_sums = at.sums(record, n);
    const float scale = at.scale(record, n);
    const float a =
        lower_half(w.headers[0][0].x) * sums[n].total(0) - upper_half(w.headers[0][0].x) * first.minimum(column_sums);
    const float b =
        lower_half(w.headers[1][0].x) * sums[n].total(1) - upper_half(w.headers[1][0].x) * second.minimum(column_sums);
    totals[n].first = fmaf(scale, a, totals[n].first);
    totals[n].second = fmaf(scale, b, totals[n].second);
  }
}

/// Formats with scales of 16 columns.
template <int kTokens, class Format>
__device__ __forceinline__ void add_sixteens(const LaneWeights<Format>& w, const TileLane<kTokens>& at, int record,
                                             RowPair (&totals)[TileLane<kTokens>::kTiles]) {
  constexpr int kTiles = TileLane<kTokens>::kTiles;
  using R = Record<Format>;
  constexpr bool kNibbles = R::kScales == Scales::kNibbles;
  const auto scale_of = [&](int row, int group) {
    return kNibbles ? unsigned_byte(w.headers[row][0], group) & 15 : signed_byte(w.headers[row][0], group);
  };
  IntSums sums[kTiles];
#pragma unroll
  for (int b = 0; b < 8; ++b) {
    const uint4 a = w.bytes(b);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const uint2 x = at.operand(record * 8 + b, n);
      sums[n].add(mma_bytes<R::kSigned>(a.x, a.y, x.x), scale_of(0, 2 * b), scale_of(1, 2 * b));
      sums[n].add(mma_bytes<R::kSigned>(a.z, a.w, x.y), scale_of(0, 2 * b + 1), scale_of(1, 2 * b + 1));
    }
  }
  constexpr float kFactor = 1.0F / static_cast<float>(1 << R::kShift);
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    float values[2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      values[row] = lower_half(w.halves[row]) * kFactor * sums[n].total(row);
      if constexpr (kNibbles) {
        const int* column_sums = reinterpret_cast<const int*>(at.sums(record, n) + kSumBytes);
        int minimum = 0;
#pragma unroll
        for (int group = 0; group < 16; ++group) {
          minimum += (unsigned_byte(w.headers[row][0], group) >> 4) * column_sums[group];
        }
        values[row] -= upper_half(w.halves[row]) * static_cast<float>(minimum);
      }
    }
    const float scale = at.scale(record, n);
    totals[n].first = fmaf(scale, values[0], totals[n].first);
    totals[n].second = fmaf(scale, values[1], totals[n].second);
  }
}

/// Formats with a half of scale, and maybe one of minimum, for 32 columns.
template <int kTokens, class Format>
__device__ __forceinline__ void add_halves(const LaneWeights<Format>& w, const TileLane<kTokens>& at, int record,
                                           RowPair (&totals)[TileLane<kTokens>::kTiles]) {
  constexpr int kTiles = TileLane<kTokens>::kTiles;
  using R = Record<Format>;
  constexpr bool kMinimums = R::kScales == Scales::kTwoHalves;
  RowPair values[kTiles];
#pragma unroll
  for (int b = 0; b < 8; ++b) {
    const uint4 a = w.bytes(b);
    const float scale0 = half_at(w.headers[0][0], b);
    const float scale1 = half_at(w.headers[1][0], b);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const int4 c = mma_bytes<R::kSigned>(a, at.operand(record * 8 + b, n));
      values[n].first = fmaf(scale0, static_cast<float>(256 * c.x + c.y), values[n].first);
      values[n].second = fmaf(scale1, static_cast<float>(256 * c.z + c.w), values[n].second);
      if constexpr (kMinimums) {
        constexpr float kBack = static_cast<float>(1 << R::kShift);  // the factor below is not of minimums
        const int* column_sums = reinterpret_cast<const int*>(at.sums(record, n) + kSumBytes);
        const float sum = kBack * static_cast<float>(column_sums[2 * b] + column_sums[2 * b + 1]);
        values[n].first = fmaf(half_at(w.headers[0][R::kHeaderVectors - 1], b), sum, values[n].first);
        values[n].second = fmaf(half_at(w.headers[1][R::kHeaderVectors - 1], b), sum, values[n].second);
      }
    }
  }
  constexpr float kFactor = 1.0F / static_cast<float>(1 << R::kShift);
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    const float scale = at.scale(record, n) * kFactor;
    totals[n].first = fmaf(scale, values[n].first, totals[n].first);
    totals[n].second = fmaf(scale, values[n].second, totals[n].second);
  }
}

}  // namespace detail

/// Adds a record's products with the tile to the lane's sums.
template <int kTokens, class Format>
__device__ __forceinline__ void add_record(const LaneWeights<Format>& w, const TileLane<kTokens>& at, int record,
                                           RowPair (&totals)[TileLane<kTokens>::kTiles]) {
  constexpr Scales kScales = Record<Format>::kScales;
  if constexpr (kScales == Scales::kSixBits) {
    detail::add_six_bits(w, at, record, totals);
  } else if constexpr (kScales == Scales::kBytes || kScales == Scales::kNibbles) {
    detail::add_sixteens(w, at, record, totals);
  } else {
    detail::add_halves(w, at, record, totals);
  }
}

template <int kTokens, class Format>
__device__ __forceinline__ void add_record(const FloatLaneWeights<Format>& w, const TileLane<kTokens>& at, int record,
                                           RowPair (&totals)[TileLane<kTokens>::kTiles]) {
  constexpr int kTiles = TileLane<kTokens>::kTiles;
  using R = Record<Format>;
  float4 c[kTiles] = {};
#pragma unroll
  for (int s = 0; s < R::kSteps; ++s) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const uint2 x = at.operand(record * R::kSteps + s, n);
      if constexpr (kInputKind<Format> == InputKind::kHalf) {
        mma_half(c[n], w.steps[s], x);
      } else if constexpr (kInputKind<Format> == InputKind::kBfloat16) {
        mma_bfloat16(c[n], w.steps[s], x);
      } else {
        // Twice, for the upper and the lower bits of the weights.
        const uint4& v = w.steps[s];
        const uint4 upper = {v.x & 0xFFFFE000U, v.y & 0xFFFFE000U, v.z & 0xFFFFE000U, v.w & 0xFFFFE000U};
        const auto rest = [](unsigned whole, unsigned part) {
          return __float_as_uint(__uint_as_float(whole) - __uint_as_float(part));
        };
        mma_tf32(c[n], upper, x);
        mma_tf32(c[n], {rest(v.x, upper.x), rest(v.y, upper.y), rest(v.z, upper.z), rest(v.w, upper.w)}, x);
      }
    }
  }
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    const float scale = at.scale(record * R::kColumns / kRecordColumns, n);
    totals[n].first = fmaf(scale, c[n].x + c[n].y, totals[n].first);
    totals[n].second = fmaf(scale, c[n].z + c[n].w, totals[n].second);
  }
}

}  // namespace inlay::cuda
