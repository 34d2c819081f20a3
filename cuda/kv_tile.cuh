// Keys and values of a tile of positions in shared memory, as operands of the tensor cores.
//
// A row of the tile is a position's key or value: kDims halves, those behind the head's own are zeros. Of a cache of 8
// bits the halves are the quants, which halves hold exactly, and their scales lie in arrays of their own. Rows are 16
// bytes further apart than they are long, so that eight neighbours lie in different banks.
#pragma once

#include <cuda_fp16.h>

#include <cstddef>

#include "cuda/arrival.cuh"
#include "cuda/async_copy.cuh"
#include "cuda/lane.cuh"
#include "cuda/pass_state.hpp"
#include "cuda/record.hpp"

namespace inlay::cuda::attention {

inline constexpr int kWarpPositions = 16;  // of a tile, that a warp takes
inline constexpr int kPlanes = 2;          // keys, values
inline constexpr int kScaleColumns = 32;   // of a cache of 8 bits

/// A kernel's sizes: heads of at most kDims = 16 kSteps values.
template <int kStepsOfHead, bool kIsQuantised>
struct HeadSize {
  static constexpr int kSteps = kStepsOfHead;
  static constexpr bool kQuantised = kIsQuantised;
  static constexpr int kDims = 16 * kSteps;
  static constexpr int kWarps = kDims > 128 ? 4 : 8;  // of a block
  static constexpr int kThreads = kWarps * kWarp;
  static constexpr int kTilePositions = kWarps * kWarpPositions;
  static constexpr int kRowBytes = 2 * kDims + 16;
  static constexpr int kPlaneBytes = kTilePositions * kRowBytes;
  static constexpr int kScales = kQuantised ? (kDims + kScaleColumns - 1) / kScaleColumns : 0;  // of a row
  static constexpr int kScaleBytes = kPlanes * kTilePositions * kScales * static_cast<int>(sizeof(float));
  static constexpr int kTileBytes = kPlanes * kPlaneBytes + kScaleBytes;
};

/// Four matrices of 8 x 8 halves, of which lane 8 i + r names row r of the i-th; a lane has of each the neighbours 2 t
/// and 2 t + 1 of row g.
__device__ __forceinline__ void load_matrices(uint4& v, unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address)
               : "memory");
}
/// The same of rows 2 t and 2 t + 1 and column g.
__device__ __forceinline__ void load_transposed(uint4& v, unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address)
               : "memory");
}

/// The rows of a layer and key head in the pages of a sequence.
struct KvRows {
  const std::byte* const* pages;  // of the sequence
  std::size_t planes[kPlanes];    // where they begin in a page
  int row_bytes;
  int head_size;
  __device__ __forceinline__ KvRows(const KvLayout& layout, const std::byte* const* of_sequence, int layer, int kv_head)
      : pages(of_sequence),
        planes{layout.offset(layer, 0, kv_head, 0), layout.offset(layer, 1, kv_head, 0)},
        row_bytes(layout.row_bytes),
        head_size(layout.head_size) {}
};

/// A place in shared memory for a tile.
template <class Size>
class KvTile {
 public:
  __device__ __forceinline__ explicit KvTile(unsigned char* memory) : memory_(memory) {}

  /// Calls for positions [first, end), at most a tile, and fills up those of the last warp with zeros. `skipped`: one
  /// that does not come from the pages. By all threads of the block; asynchronous but for a cache of 8 bits.
  __device__ __forceinline__ void call(const KvRows& rows, int first, int end, int skipped) const {
    constexpr int kChunks = Size::kDims / 8;              // of 8 values
    constexpr int kRoundRows = Size::kThreads / kChunks;  // that the block calls for at once
    const unsigned n_rows = (end - first + kWarpPositions - 1) / kWarpPositions * kWarpPositions;
    const int col = static_cast<int>(threadIdx.x % kChunks) * 8;
    const bool has_col = col < rows.head_size;
    unsigned i = threadIdx.x / kChunks;  // the row of the tile
    unsigned char* to = memory_ + i * Size::kRowBytes + 2 * col;
    if (kRoundRows * kChunks < Size::kThreads && i >= kRoundRows) return;
#pragma unroll 1
    for (; i < n_rows; i += kRoundRows, to += kRoundRows * Size::kRowBytes) {
      const unsigned position = first + i;
      if (static_cast<int>(position) == skipped) continue;
      const bool is_inside = static_cast<int>(position) < end;
      const bool is_there = is_inside && has_col;
      const unsigned from = is_inside ? position : first;
      const std::byte* of_page = rows.pages[from / kKvPagePositions] +
                                 static_cast<int>(from % kKvPagePositions) * rows.row_bytes;
#pragma unroll
      for (int plane = 0; plane < kPlanes; ++plane) {
        const std::byte* row = of_page + rows.planes[plane];
        unsigned char* at = to + plane * Size::kPlaneBytes;
        if constexpr (Size::kQuantised) {
          uint2 bytes = {0, 0};
          if (is_there) bytes = *reinterpret_cast<const uint2*>(row + col);
          store_quants(at, bytes);
          if (col % kScaleColumns != 0) continue;
          __half scale = __ushort_as_half(0);
          if (is_there) scale = *reinterpret_cast<const __half*>(row + rows.head_size + col / kScaleColumns * 2);
          *scale_at(plane, static_cast<int>(i), col) = __half2float(scale);
        } else {
          copy_async_or_zeros(at, row + (has_col ? 2 * col : 0), is_there);
        }
      }
    }
  }

  /// Puts the key and value of a position that come while the kernel runs at their places. `relayed`: [2][n_kv_heads]
  /// [row_bytes], from the head's on. By one warp.
  __device__ __forceinline__ void await(const KvLayout& layout, const std::byte* relayed, int row_of_tile) const {
    const int n_chunks = layout.head_size / 8;
    static_assert(kPlanes == 2);
    for (int i = lane_of_warp(); i < kPlanes * n_chunks; i += kWarp) {
      const int plane = i < n_chunks ? 0 : 1;
      const int col = (i - plane * n_chunks) * 8;
      const std::byte* row = relayed + plane * layout.n_kv_heads * layout.row_bytes;
      unsigned char* to = memory_ + plane * Size::kPlaneBytes + row_of_tile * Size::kRowBytes + 2 * col;
      if constexpr (Size::kQuantised) {
        uint2 bytes;
        unsigned short scale = 0;
        do {
          load_words(bytes, row + col);
          load_half(scale, row + layout.head_size + col / kScaleColumns * 2);
        } while (is_absent(bytes) || is_absent(scale));
        store_quants(to, bytes);
        if (col % kScaleColumns == 0) *scale_at(plane, row_of_tile, col) = __half2float(__ushort_as_half(scale));
      } else {
        uint4 halves;
        do {
          load_words(halves, row + 2 * col);
        } while (is_absent(halves));
        *reinterpret_cast<uint4*>(to) = halves;
      }
    }
    for (int i = lane_of_warp(); i < kPlanes * (Size::kDims / 8 - n_chunks); i += kWarp) {
      unsigned char* row = memory_ + i % kPlanes * Size::kPlaneBytes + row_of_tile * Size::kRowBytes;
      *reinterpret_cast<uint4*>(row + 16 * (n_chunks + i / kPlanes)) = {};
    }
  }

  // Of 16 positions from `row` on.

  /// Columns 16 step ... 16 step + 15 of keys as operands B: of the first eight positions (x, y) and the others (z, w).
  __device__ __forceinline__ uint4 keys(int row, int step) const {
    const int lane = lane_of_warp();
    uint4 b;
    load_matrices(b, address(0) + (row + lane / 16 * 8 + lane % 8) * Size::kRowBytes + (2 * step + lane / 8 % 2) * 16);
    return b;
  }
  /// Values as operands B: columns 16 step ... 16 step + 7 (x, y) and the eight behind them (z, w).
  __device__ __forceinline__ uint4 values(int row, int step) const {
    const int lane = lane_of_warp();
    uint4 b;
    load_transposed(b, address(1) + (row + lane % 16) * Size::kRowBytes + (2 * step + lane / 16) * 16);
    return b;
  }
  /// Of a row of the tile.
  __device__ __forceinline__ float scale(int plane, int row, int block) const {
    return *scale_at(plane, row, block * kScaleColumns);
  }

 private:
  [[nodiscard]] __device__ __forceinline__ unsigned address(int plane) const {
    return static_cast<unsigned>(__cvta_generic_to_shared(memory_ + plane * Size::kPlaneBytes));
  }
  [[nodiscard]] __device__ __forceinline__ float* scale_at(int plane, int row, int col) const {
    return reinterpret_cast<float*>(memory_ + kPlanes * Size::kPlaneBytes) +
           (plane * Size::kTilePositions + row) * Size::kScales + col / kScaleColumns;
  }
  /// As halves.
  static __device__ __forceinline__ void store_quants(unsigned char* to, const uint2& bytes) {
    const unsigned words[2] = {bytes.x, bytes.y};
    __half2 halves[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const unsigned two = words[i / 2] >> (16 * (i % 2));
      halves[i] = __halves2half2(__short2half_rn(static_cast<signed char>(two & 0xFFU)),
                                 __short2half_rn(static_cast<signed char>(two >> 8U & 0xFFU)));
    }
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(halves);
  }

  unsigned char* memory_;
};

}  // namespace inlay::cuda::attention
