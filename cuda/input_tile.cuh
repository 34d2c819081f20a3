// Activations of a few tokens in shared memory, as operands B of tensor core instructions.
//
// Every token takes two columns of the operand: its activations as a sum of a coarse and a fine part, so that the products
// are as good as float's (15 bits of 256 neighbours' common scale for integers; 22, 16 and 22 bits of each for halves,
// bfloat16 and floats) at the price of columns that a narrow batch leaves unused anyway.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/record.hpp"

namespace inlay::cuda {

inline constexpr int kTileTokens = 4;  // of an operand: eight columns

/// Bytes of a token's sums in a record: 24 bytes of 32 columns' sums, then 16 ints of 16 columns' sums.
inline constexpr int kSumBytes = 24;
inline constexpr int kSumsBytes = kSumBytes + 64 + 8;  // padded: the ints of neighbours lie in other banks

/// Where a tile's parts lie in dynamic shared memory; `tokens` is 1, 2, 4 or 8.
struct TileLayout {
  int tokens = 1;
  int n_records = 0;  // of 256 columns
  InputKind kind = InputKind::kInt8;

  /// Steps of 32 (integers), 16 (halves) or 8 (floats) columns, 32 bytes a column of the operand.
  [[nodiscard]] __host__ __device__ int step_bytes() const { return 2 * 32 * tokens; }
  [[nodiscard]] __host__ __device__ int steps_of_record() const {
    return kind == InputKind::kInt8 ? 8 : kind == InputKind::kTf32 ? 32 : 16;
  }
  [[nodiscard]] __host__ __device__ int scales_offset() const { return n_records * steps_of_record() * step_bytes(); }
  [[nodiscard]] __host__ __device__ int squares_offset() const { return scales_offset() + 4 * n_records * tokens; }
  [[nodiscard]] __host__ __device__ int sums_offset() const { return (squares_offset() + 4 * n_records * tokens + 7) & ~7; }
  [[nodiscard]] __host__ __device__ int end() const {
    return sums_offset() + (kind == InputKind::kInt8 ? n_records * tokens * kSumsBytes : 0);
  }
};

/// What is made of rows of floats: x, or x times the norm's weights; the norm's factor is left for the end.
struct InputRows {
  const float* x = nullptr;     // [n_rows, n_cols]
  const float* norm = nullptr;  // [n_cols], or null
  const int* row_map = nullptr;  // rows to take instead of 0, 1, 2 ..., or null
  int n_rows = 0;
  int n_cols = 0;
};

namespace detail {

/// Eight neighbours of a lane.
struct Eight {
  float v[8];
};

__device__ __forceinline__ Eight load_eight(const float* p) {
  const float4 a = *reinterpret_cast<const float4*>(p);
  const float4 b = *reinterpret_cast<const float4*>(p + 4);
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

__device__ __forceinline__ float warp_sum(float x) {
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xFFFFFFFFU, x, offset);
  return x;
}

/// The largest magnitude of the warp's values, as bits: those of a NaN or an infinity are the highest.
__device__ __forceinline__ unsigned warp_max_bits(const Eight& e) {
  unsigned most = 0;
#pragma unroll
  for (const float x : e.v) most = max(most, __float_as_uint(x) & 0x7FFFFFFFU);
  return __reduce_max_sync(0xFFFFFFFFU, most);
}

__device__ __forceinline__ unsigned pack_bytes(int a, int b, int c, int d) {
  return __byte_perm(__byte_perm(a, b, 0x0040), __byte_perm(c, d, 0x0040), 0x5410);
}

inline constexpr float kMostSteps = 16256.0F;  // 127 * 128: a coarse part of at most 127
inline constexpr unsigned kInfinityBits = 0x7F800000U;

/// x = scale * (128 coarse + fine), |coarse| <= 127, -64 <= fine < 64, for 256 columns of a warp.
__device__ __forceinline__ void write_int8(const TileLayout& tile, unsigned char* shared, const Eight& e, int token,
                                           int record, int lane) {
  const unsigned most = warp_max_bits(e);
  const float scale = most < kInfinityBits ? __uint_as_float(most) / kMostSteps : __uint_as_float(0x7FC00000U);
  const float inverse = scale >= 0x1p-120F ? 1.0F / scale : 0.0F;
  int coarse[8];
  int fine[8];
  int sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int q = __float2int_rn(e.v[i] * inverse);
    coarse[i] = (q + 64) >> 7;
    fine[i] = q - 128 * coarse[i];
    sum += q;
  }
  unsigned char* step = shared + (record * 8 + lane / 4) * tile.step_bytes() + token * 64;
#pragma unroll
  for (int word = 0; word < 2; ++word) {  // columns 4 j ... 4 j + 3 of the 32: register j / 4 of lane j % 4
    const int j = lane % 4 * 2 + word;
    auto* at = reinterpret_cast<unsigned*>(step + (j % 4 * 2 + j / 4) * 4);
    at[0] = pack_bytes(coarse[4 * word], coarse[4 * word + 1], coarse[4 * word + 2], coarse[4 * word + 3]);
    at[8] = pack_bytes(fine[4 * word], fine[4 * word + 1], fine[4 * word + 2], fine[4 * word + 3]);
  }
  sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 1);
  unsigned char* sums = shared + tile.sums_offset() + (record * tile.tokens + token) * kSumsBytes;
  if (lane % 2 == 0) reinterpret_cast<int*>(sums + kSumBytes)[lane / 2] = sum;
  sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 2);
  if (lane % 4 == 0) {  // sum = 2^14 high + 2^7 middle + low
    const int upper = (sum + 64) >> 7;
    const int high = (upper + 64) >> 7;
    sums[lane / 4] = static_cast<unsigned char>(sum - 128 * upper);
    sums[8 + lane / 4] = static_cast<unsigned char>(upper - 128 * high);
    sums[16 + lane / 4] = static_cast<unsigned char>(high);
  }
  if (lane == 0) {
    reinterpret_cast<float*>(shared + tile.scales_offset())[token * tile.n_records + record] = scale;
  }
}

/// x = scale * (coarse + fine) with halves, the scale a power of two.
__device__ __forceinline__ void write_half(const TileLayout& tile, unsigned char* shared, const Eight& e, int token,
                                           int record, int lane) {
  const unsigned most = warp_max_bits(e) & kInfinityBits;
  const unsigned exponent = most > (20U << 23U) ? most - (10U << 23U) : 10U << 23U;
  const float scale = __uint_as_float(exponent);
  const float inverse = 1.0F / scale;
  unsigned char* step = shared + (record * 16 + lane / 2) * tile.step_bytes() + token * 64;
#pragma unroll
  for (int t = 0; t < 4; ++t) {
    const float2 x = {e.v[2 * t] * inverse, e.v[2 * t + 1] * inverse};
    const __half2 coarse = __float22half2_rn(x);
    const float2 rest = __half22float2(coarse);
    const __half2 fine = __float22half2_rn({x.x - rest.x, x.y - rest.y});
    auto* at = reinterpret_cast<__half2*>(step + (t * 2 + lane % 2) * 4);
    at[0] = coarse;
    at[8] = fine;
  }
  if (lane == 0) {
    reinterpret_cast<float*>(shared + tile.scales_offset())[token * tile.n_records + record] = scale;
  }
}

__device__ __forceinline__ void write_bfloat16(const TileLayout& tile, unsigned char* shared, const Eight& e, int token,
                                               int record, int lane) {
  unsigned char* step = shared + (record * 16 + lane / 2) * tile.step_bytes() + token * 64;
#pragma unroll
  for (int t = 0; t < 4; ++t) {
    const float2 x = {e.v[2 * t], e.v[2 * t + 1]};
    const __nv_bfloat162 coarse = __float22bfloat162_rn(x);
    const float2 rest = __bfloat1622float2(coarse);
    const __nv_bfloat162 fine = __float22bfloat162_rn({x.x - rest.x, x.y - rest.y});
    auto* at = reinterpret_cast<__nv_bfloat162*>(step + (t * 2 + lane % 2) * 4);
    at[0] = coarse;
    at[8] = fine;
  }
  if (lane == 0) {
    reinterpret_cast<float*>(shared + tile.scales_offset())[token * tile.n_records + record] = 1.0F;
  }
}

__device__ __forceinline__ float upper_bits(float x) { return __uint_as_float(__float_as_uint(x) & 0xFFFFE000U); }

__device__ __forceinline__ void write_tf32(const TileLayout& tile, unsigned char* shared, const Eight& e, int token,
                                           int record, int lane) {
  unsigned char* step = shared + (record * 32 + lane) * tile.step_bytes() + token * 64;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    auto* at = reinterpret_cast<float*>(step + (i % 4 * 2 + i / 4) * 4);
    const float coarse = upper_bits(e.v[i]);
    at[0] = coarse;
    at[8] = e.v[i] - coarse;
  }
  if (lane == 0) {
    reinterpret_cast<float*>(shared + tile.scales_offset())[token * tile.n_records + record] = 1.0F;
  }
}

}  // namespace detail

/// Fills the tile with the rows from `first_row` on; those that are not there become zeros. All warps of the block take
/// part; a barrier must follow.
template <InputKind kKind>
__device__ __forceinline__ void fill_tile(const TileLayout& tile, unsigned char* shared, const InputRows& rows,
                                          int first_row) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int n_warps = static_cast<int>(blockDim.x) / kWarp;
  for (int task = static_cast<int>(threadIdx.x) / kWarp; task < tile.tokens * tile.n_records; task += n_warps) {
    const int token = task / tile.n_records;
    const int record = task % tile.n_records;
    const int col = record * kRecordColumns + lane * 8;
    const int row = first_row + token;
    detail::Eight e = {};
    float squares = 0.0F;
    if (row < rows.n_rows && col < rows.n_cols) {
      const int source = rows.row_map == nullptr ? row : rows.row_map[row];
      e = detail::load_eight(rows.x + static_cast<std::size_t>(source) * static_cast<std::size_t>(rows.n_cols) + col);
      if (rows.norm != nullptr) {
        const detail::Eight weights = detail::load_eight(rows.norm + col);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          squares += e.v[i] * e.v[i];
          e.v[i] *= weights.v[i];
        }
      }
    }
    if (rows.norm != nullptr) {
      squares = detail::warp_sum(squares);
      if (lane == 0) {
        reinterpret_cast<float*>(shared + tile.squares_offset())[token * tile.n_records + record] = squares;
      }
    }
    if constexpr (kKind == InputKind::kInt8) detail::write_int8(tile, shared, e, token, record, lane);
    if constexpr (kKind == InputKind::kHalf) detail::write_half(tile, shared, e, token, record, lane);
    if constexpr (kKind == InputKind::kBfloat16) detail::write_bfloat16(tile, shared, e, token, record, lane);
    if constexpr (kKind == InputKind::kTf32) detail::write_tf32(tile, shared, e, token, record, lane);
  }
}

}  // namespace inlay::cuda
