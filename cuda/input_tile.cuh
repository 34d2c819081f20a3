// Activations of a few tokens in shared memory, as operands B of tensor core instructions.
//
// Every token takes two columns of the operand: its activations as a sum of a coarse and a fine part, so that the
// products are as good as float's (15 bits of 256 neighbours' common scale for integers; 22, 16 and 22 bits of each for
// halves, bfloat16 and floats) at the price of columns that a narrow batch leaves unused anyway.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/record.hpp"

namespace inlay::cuda {

inline constexpr int kTileTokens = 4;  // of an operand: eight columns

/// Bytes of a token's sums in a record: 24 bytes of 32 columns' sums, then 16 ints of 16 columns' sums.
inline constexpr int kSumBytes = 24;
inline constexpr int kSumsBytes = kSumBytes + 64 + 8;  // padded: the ints of neighbours lie in other banks

/// Of a step of 32 (integers), 16 (halves) or 8 (floats) columns of the operand.
template <int kTokens>
inline constexpr int kStepBytes = 2 * 32 * kTokens;

/// Where a tile's parts lie in dynamic shared memory, in bytes.
struct TileLayout {
  int n_records = 0;  // of 256 columns
  int planes = 0;     // [steps][kStepBytes]
  int scales = 0;     // float [token][record]
  int squares = 0;    // float [token][record] sums of squares, of a normalised input
  int sums = 0;       // [record][token][kSumsBytes], of integers
};

/// What is made of rows of floats: x, or x times the norm's weights; the norm's factor is left for the end.
struct InputRows {
  const float* x = nullptr;      // [n_rows, n_cols]
  const float* norm = nullptr;   // [n_cols], or null
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

inline constexpr unsigned kInfinityBits = 0x7F800000U;
inline constexpr float kMostSteps = 32512.0F;  // 127 * 256: a coarse part of at most 127

/// Bytes `which` of four words.
template <int kWhich>
__device__ __forceinline__ unsigned gather_bytes(const int* words) {
  constexpr unsigned kTwo = kWhich | (4 + kWhich) << 4;
  return __byte_perm(__byte_perm(words[0], words[1], kTwo), __byte_perm(words[2], words[3], kTwo), 0x5410);
}

/// x = scale * (256 coarse + fine), |coarse| <= 127, -128 <= fine < 128, for 256 columns of a warp.
template <int kTokens>
__device__ __forceinline__ void write_int8(const TileLayout& tile, unsigned char* shared, const Eight& e, int token,
                                           int record, int lane) {
  const unsigned most = warp_max_bits(e);
  const float scale = most < kInfinityBits ? __uint_as_float(most) * (1.0F / kMostSteps) : __uint_as_float(0x7FC00000U);
  const float inverse = scale >= 0x1p-120F ? __fdividef(1.0F, scale) : 0.0F;
  unsigned char* step = shared + tile.planes + (record * 8 + lane / 4) * kStepBytes<kTokens> + token * 64;
  int sum_coarse = 0;
  int sum_fine = 0;
#pragma unroll
  for (int word = 0; word < 2; ++word) {  // columns 4 j ... 4 j + 3 of the 32: register j / 4 of lane j % 4
    int fine[4];
    int coarse[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // The addition leaves the rounded number in the lower bits: its lowest byte is the fine part.
      fine[i] = __float_as_int(fmaf(e.v[4 * word + i], inverse, 12582912.0F));
      coarse[i] = fine[i] + 128;
    }
    const int j = lane % 4 * 2 + word;
    auto* at = reinterpret_cast<unsigned*>(step + (j % 4 * 2 + j / 4) * 4);
    const unsigned coarse_bytes = gather_bytes<1>(coarse);
    const unsigned fine_bytes = gather_bytes<0>(fine);
    at[0] = coarse_bytes;
    at[8] = fine_bytes;
    sum_coarse = __dp4a(static_cast<int>(coarse_bytes), 0x01010101, sum_coarse);
    sum_fine = __dp4a(static_cast<int>(fine_bytes), 0x01010101, sum_fine);
  }
  int sum = 256 * sum_coarse + sum_fine;
  sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 1);
  unsigned char* sums = shared + tile.sums + (record * kTokens + token) * kSumsBytes;
  if (lane % 2 == 0) reinterpret_cast<int*>(sums + kSumBytes)[lane / 2] = sum;
  sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 2);
  if (lane % 4 == 0) {  // sum = 2^14 high + 2^7 middle + low
    const int upper = (sum + 64) >> 7;
    const int high = (upper + 64) >> 7;
    sums[lane / 4] = static_cast<unsigned char>(sum - 128 * upper);
    sums[8 + lane / 4] = static_cast<unsigned char>(upper - 128 * high);
    sums[16 + lane / 4] = static_cast<unsigned char>(high);
  }
  if (lane == 0) reinterpret_cast<float*>(shared + tile.scales)[token * tile.n_records + record] = scale;
}

/// x = scale * (coarse + fine) with halves, the scale a power of two.
template <int kTokens>
__device__ __forceinline__ void write_half(const TileLayout& tile, unsigned char* shared, const Eight& e, int token,
                                           int record, int lane) {
  const unsigned most = warp_max_bits(e) & kInfinityBits;
  const unsigned exponent = most > (20U << 23U) ? most - (10U << 23U) : 10U << 23U;
  const float scale = __uint_as_float(exponent);
  const float inverse = 1.0F / scale;
  unsigned char* step = shared + tile.planes + (record * 16 + lane / 2) * kStepBytes<kTokens> + token * 64;
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
    reinterpret_cast<float*>(shared + tile.scales)[token * tile.n_records + record] = scale;
  }
}

template <int kTokens>
__device__ __forceinline__ void write_bfloat16(const TileLayout& tile, unsigned char* shared, const Eight& e, int token,
                                               int record, int lane) {
  unsigned char* step = shared + tile.planes + (record * 16 + lane / 2) * kStepBytes<kTokens> + token * 64;
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
    reinterpret_cast<float*>(shared + tile.scales)[token * tile.n_records + record] = 1.0F;
  }
}

__device__ __forceinline__ float upper_bits(float x) { return __uint_as_float(__float_as_uint(x) & 0xFFFFE000U); }

template <int kTokens>
__device__ __forceinline__ void write_tf32(const TileLayout& tile, unsigned char* shared, const Eight& e, int token,
                                           int record, int lane) {
  unsigned char* step = shared + tile.planes + (record * 32 + lane) * kStepBytes<kTokens> + token * 64;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    auto* at = reinterpret_cast<float*>(step + (i % 4 * 2 + i / 4) * 4);
    const float coarse = upper_bits(e.v[i]);
    at[0] = coarse;
    at[8] = e.v[i] - coarse;
  }
  if (lane == 0) {
    reinterpret_cast<float*>(shared + tile.scales)[token * tile.n_records + record] = 1.0F;
  }
}

}  // namespace detail

/// A task of a warp: 256 columns of a token, eight of them a lane's.
struct FillTask {
  int token = 0;
  int record = 0;
  const float* x = nullptr;     // the lane's columns, or null where there are none
  const float* norm = nullptr;  // the same of the norm's weights
};

template <int kTokens>
__device__ __forceinline__ FillTask fill_task(const TileLayout& tile, const InputRows& rows, int first_row, int task) {
  FillTask fill;
  fill.token = kTokens == 1 ? 0 : task / tile.n_records;
  fill.record = task - fill.token * tile.n_records;
  const int col = fill.record * kRecordColumns + static_cast<int>(threadIdx.x) % kWarp * 8;
  const int row = first_row + fill.token;
  if (fill.token >= kTokens || row >= rows.n_rows || col >= rows.n_cols) return fill;
  const int source = rows.row_map == nullptr ? row : rows.row_map[row];
  fill.x = rows.x + static_cast<std::size_t>(source) * static_cast<std::size_t>(rows.n_cols) + col;
  if (rows.norm != nullptr) fill.norm = rows.norm + col;
  return fill;
}

/// What a warp's first task needs besides other kernels' results. Made before the wait for them, since the norm's
/// weights come from far away. The rows that a row_map names are known before a pass begins.
struct EarlyInput {
  FillTask first;
  detail::Eight norm = {};
};

template <int kTokens>
__device__ __forceinline__ EarlyInput early_input(const TileLayout& tile, const InputRows& rows, int first_row) {
  EarlyInput early;
  early.first = fill_task<kTokens>(tile, rows, first_row, static_cast<int>(threadIdx.x) / kWarp);
  if (early.first.norm != nullptr) early.norm = detail::load_eight(early.first.norm);
  return early;
}

/// Adds up the squares of a task.
__device__ __forceinline__ void store_squares(const TileLayout& tile, unsigned char* shared, float squares, int task) {
  squares = detail::warp_sum(squares);
  if (threadIdx.x % kWarp == 0) reinterpret_cast<float*>(shared + tile.squares)[task] = squares;
}

/// Fills the tile with the rows from `first_row` on; those that are not there become zeros. All warps of the block take
/// part; a barrier must follow. Returns the sum of squares of the lane's part of the warp's last task, which
/// store_squares takes later, out of the way of the product.
template <InputKind kKind, int kTokens>
__device__ __forceinline__ float fill_tile(const TileLayout& tile, unsigned char* shared, const InputRows& rows,
                                           const EarlyInput& early, int first_row) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int n_warps = static_cast<int>(blockDim.x) / kWarp;
  const int n_tasks = kTokens * tile.n_records;
  FillTask next = early.first;
  detail::Eight next_x = {};
  detail::Eight next_norm = early.norm;
  if (next.x != nullptr) next_x = detail::load_eight(next.x);
  float squares = 0.0F;
  for (int task = static_cast<int>(threadIdx.x) / kWarp; task < n_tasks; task += n_warps) {
    const FillTask fill = next;
    detail::Eight e = next_x;
    const detail::Eight weights = next_norm;
    if (task + n_warps < n_tasks) {  // on its way while this task is worked on
      next = fill_task<kTokens>(tile, rows, first_row, task + n_warps);
      next_x = next_norm = {};
      if (next.x != nullptr) next_x = detail::load_eight(next.x);
      if (next.norm != nullptr) next_norm = detail::load_eight(next.norm);
    }
    if (rows.norm != nullptr) {
      squares = 0.0F;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        squares = fmaf(e.v[i], e.v[i], squares);
        e.v[i] *= weights.v[i];
      }
      if (task + n_warps < n_tasks) store_squares(tile, shared, squares, task);
    }
    if constexpr (kKind == InputKind::kInt8)
      detail::write_int8<kTokens>(tile, shared, e, fill.token, fill.record, lane);
    if constexpr (kKind == InputKind::kHalf)
      detail::write_half<kTokens>(tile, shared, e, fill.token, fill.record, lane);
    if constexpr (kKind == InputKind::kBfloat16) {
      detail::write_bfloat16<kTokens>(tile, shared, e, fill.token, fill.record, lane);
    }
    if constexpr (kKind == InputKind::kTf32)
      detail::write_tf32<kTokens>(tile, shared, e, fill.token, fill.record, lane);
  }
  return squares;
}

}  // namespace inlay::cuda
