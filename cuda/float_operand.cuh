// Activations of a record of floats as operand B of the tensor cores, made of rows of floats in the registers of a
// warp.
//
// Every token takes two columns of the operand: its activations as a sum of a coarse and a fine part, so that the
// products are as good as float's (22, 16 and 22 bits of each for halves, bfloat16 and floats) at the price of columns
// that a narrow batch leaves unused anyway.
#pragma once

#include <cuda_bf16.h>

#include <type_traits>

#include "cuda/arrival.cuh"
#include "cuda/granule.cuh"
#include "cuda/half_parts.cuh"
#include "cuda/lane.cuh"
#include "cuda/record.hpp"

namespace inlay::cuda {

/// A lane's columns of a record of floats for the tokens of one operand: [class][step of the class][half of a step].
template <class Format, int kTokens>
struct LaneColumns {
  using R = Record<Format>;
  static constexpr int kClasses = Lane<kTokens>::kClasses;
  static constexpr int kOfClass = kGranulesOfClass<Format>;
  static constexpr int kHalves = 2;
  static constexpr int kElements = R::kStepColumns / 8;  // that stand together
  float v[kClasses][kOfClass][kHalves][kElements];

  /// Calls visit(column of the record, the elements from there on).
  template <class Visitor>
  __device__ __forceinline__ void for_each(const Lane<kTokens>& lane, const Visitor& visit) {
#pragma unroll
    for (int j = 0; j < kClasses; ++j) {
      const int of_class = Lane<kTokens>::class_of(lane.input_share(), j);
#pragma unroll
      for (int i = 0; i < kOfClass; ++i) {
#pragma unroll
        for (int h = 0; h < kHalves; ++h) {
          const int granule = 4 * i + of_class;
          visit(granule * R::kGranuleColumns + h * (R::kStepColumns / 2) + lane.quarter() * kElements, v[j][i][h]);
        }
      }
    }
  }

  /// Whether there is a column that has not come yet (arrival.cuh).
  [[nodiscard]] __device__ __forceinline__ bool has_absent() const {
    bool is_any = false;
#pragma unroll
    for (int j = 0; j < kClasses; ++j)
#pragma unroll
      for (int i = 0; i < kOfClass; ++i)
#pragma unroll
        for (int h = 0; h < kHalves; ++h)
#pragma unroll
          for (int e = 0; e < kElements; ++e) is_any |= is_absent(v[j][i][h][e]);
    return is_any;
  }

  /// From a row of floats, of which `n_left` are there from the record on. kLate: they may not have come yet.
  template <bool kLate>
  __device__ __forceinline__ void load(const Lane<kTokens>& lane, const float* row, int n_left) {
    for_each(lane, [&](int col, float(&to)[kElements]) {
      float2 two = {};
      if (col < n_left) {
        if constexpr (kElements == 2) {
          if constexpr (kLate) {
            load_words(two, row + col);
          } else {
            two = *reinterpret_cast<const float2*>(row + col);
          }
        } else if constexpr (kLate) {
          load_word(two.x, row + col);
        } else {
          two.x = row[col];
        }
      }
      to[0] = two.x;
      if constexpr (kElements == 2) to[1] = two.y;
    });
  }

  /// The largest magnitude of the token, as bits: those of a NaN or an infinity are the highest.
  [[nodiscard]] __device__ __forceinline__ unsigned most_bits() const {
    unsigned most = 0;
#pragma unroll
    for (int j = 0; j < kClasses; ++j)
#pragma unroll
      for (int i = 0; i < kOfClass; ++i)
#pragma unroll
        for (int h = 0; h < kHalves; ++h)
#pragma unroll
          for (int e = 0; e < kElements; ++e) most = max(most, magnitude_bits(v[j][i][h][e]));
    if constexpr (kTokens == 1) return __reduce_max_sync(kAllLanes, most);
#pragma unroll
    for (int offset = 1; offset < 8 * Lane<kTokens>::kShares; offset *= 2) {
      most = max(most, __shfl_xor_sync(kAllLanes, most, offset));
    }
    return most;
  }
};

namespace detail {

/// x = scale * (coarse + fine) with halves, the scale a power of two.
struct HalfParts {
  float scale;
  float inverse;
  bool fine;
  __device__ __forceinline__ HalfParts(unsigned most, bool is_fine) : fine(is_fine) {
    scale = half_scale(most);
    inverse = inverse_of_power(scale);
  }
  [[nodiscard]] __device__ __forceinline__ unsigned word(const float (&v)[2]) const {
    const HalfPair pair(v[0] * inverse, v[1] * inverse);
    return fine ? pair.lower : pair.upper;
  }
};

struct Bfloat16Parts {
  float scale = 1.0F;
  bool fine;
  __device__ __forceinline__ Bfloat16Parts(unsigned /*most*/, bool is_fine) : fine(is_fine) {}
  [[nodiscard]] __device__ __forceinline__ unsigned word(const float (&v)[2]) const {
    const __nv_bfloat162 coarse = __float22bfloat162_rn({v[0], v[1]});
    const float2 back = __bfloat1622float2(coarse);
    const __nv_bfloat162 rest = __float22bfloat162_rn({v[0] - back.x, v[1] - back.y});
    const __nv_bfloat162 part = fine ? rest : coarse;
    return *reinterpret_cast<const unsigned*>(&part);
  }
};

struct Tf32Parts {
  float scale = 1.0F;
  bool fine;
  __device__ __forceinline__ Tf32Parts(unsigned /*most*/, bool is_fine) : fine(is_fine) {}
  [[nodiscard]] __device__ __forceinline__ unsigned word(const float (&v)[1]) const {
    const float coarse = __uint_as_float(__float_as_uint(v[0]) & 0xFFFFE000U);
    return __float_as_uint(fine ? v[0] - coarse : coarse);
  }
};

template <InputKind kKind>
using Parts = std::conditional_t<kKind == InputKind::kHalf, HalfParts,
                                 std::conditional_t<kKind == InputKind::kBfloat16, Bfloat16Parts, Tf32Parts>>;

}  // namespace detail

/// Operands of a record of floats, one for each four tokens.
template <class Format, int kTokens>
struct FloatOperand {
  using Columns = LaneColumns<Format, kTokens>;
  using Parts = detail::Parts<kInputKind<Format>>;
  static constexpr int kShares = Lane<kTokens>::kShares;

  uint2 words[Lane<kTokens>::kTiles][kSteps];
  float scale[Lane<kTokens>::kTiles];  // of the token of the lane's sums

  __device__ __forceinline__ void set(const Lane<kTokens>& lane, int tile, const Columns& columns) {
    const Parts parts(kInputKind<Format> == InputKind::kHalf ? columns.most_bits() : 0, lane.is_fine());
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const bool is_own = kShares == 1 || step % kShares == lane.input_share();
      const auto& own = columns.v[step % 4 / kShares][step / 4];
      words[tile][step] = {is_own ? parts.word(own[0]) : 0, is_own ? parts.word(own[1]) : 0};
    }
    // Lane 8 p holds the scale of pair p.
    scale[tile] = kTokens == 1 ? parts.scale : __shfl_sync(kAllLanes, parts.scale, 8 * lane.quarter());
  }
};

}  // namespace inlay::cuda
