// How the activations of a warp's columns come to it, record after record.
#pragma once

#include <type_traits>

#include "cuda/arrival.cuh"
#include "cuda/lane.cuh"
#include "cuda/multiply_kernels.hpp"
#include "cuda/multiply_task.cuh"
#include "cuda/record_product.cuh"

namespace inlay::cuda {

/// The sum of what lanes 8 p + s have, in all of them.
__device__ __forceinline__ float sum_of_steps(float sum) {
#pragma unroll
  for (int offset = 1; offset < kSteps; offset *= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
  return sum;
}

/// The row of the input for a token of the block. Tokens that are not there have the last one.
template <int kTokens>
__device__ __forceinline__ int input_row(const MultiplyArgs& args, int token) {
  const int row = min(static_cast<int>(blockIdx.y) * kTokens + min(token, kTokens - 1), args.n_rows - 1);
  return args.row_map == nullptr ? row : args.row_map[row];
}

/// The input of a warp for floats, record after record.
template <class Format, int kTokens>
class FloatInput {
 public:
  using Columns = LaneColumns<Format, kTokens>;
  using Weights = FloatLaneWeights<Format>;
  using Operand = FloatOperand<Format, kTokens>;

  __device__ __forceinline__ FloatInput(const MultiplyArgs& args, const Lane<kTokens>& lane, const WarpTask& task,
                                        const SharedLayout& /*layout*/, unsigned char* /*shared*/)
      : args_(args), lane_(lane), record_(task.begin) {}

  __device__ __forceinline__ Operand take() {
    const int record = record_++;
    const int first = record * Record<Format>::kColumns;
    const int n_left = args_.n_cols - first;
    Operand operand;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const int row = input_row<kTokens>(args_, n * kTileTokens + lane_.input_token());
      const float* from = args_.x + static_cast<std::size_t>(row) * static_cast<std::size_t>(args_.n_cols) + first;
      Columns x;
      do {
        x.template load<kTokens == 1>(lane_, from, n_left);
      } while (kTokens == 1 && args_.is_relayed && __any_sync(kAllLanes, x.has_absent()));
      if (args_.norm != nullptr) {
        Columns norm;
        norm.template load<false>(lane_, args_.norm + first, n_left);
        normalise(x, norm, squares_[n]);
      }
      operand.set(lane_, n, x);
    }
    return operand;
  }

  /// The sums of squares of all columns taken, to [token, stride].
  __device__ __forceinline__ void store_squares(float* to, int stride) const {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      float sum = join_classes<kTokens, 8>(squares_[n]);
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
      if (!lane_.is_fine() && lane_.quarter() == 0 && lane_.input_share() == 0) {
        to[(n * kTileTokens + lane_.input_token()) * stride] = sum;
      }
    }
  }

 private:
  static constexpr int kTiles = Lane<kTokens>::kTiles;

  static __device__ __forceinline__ void normalise(Columns& columns, const Columns& norm,
                                                   float (&squares)[Columns::kClasses]) {
#pragma unroll
    for (int j = 0; j < Columns::kClasses; ++j)
#pragma unroll
      for (int i = 0; i < Columns::kOfClass; ++i)
#pragma unroll
        for (int h = 0; h < Columns::kHalves; ++h)
#pragma unroll
          for (int e = 0; e < Columns::kElements; ++e) {
            float& x = columns.v[j][i][h][e];
            squares[j] = fmaf(x, x, squares[j]);
            x *= norm.v[j][i][h][e];
          }
  }

  const MultiplyArgs& args_;
  const Lane<kTokens>& lane_;
  int record_;  // the next
  float squares_[kTiles][Lane<kTokens>::kClasses] = {};
};

/// The same for integers.
template <class Format, int kTokens>
class QuantisedInput {
 public:
  using Weights = PreparedWeights<Format, kTokens>;
  using Operand = QuantisedOperand<Format, kTokens>;

  __device__ __forceinline__ QuantisedInput(const MultiplyArgs& args, const Lane<kTokens>& lane, const WarpTask& task,
                                            const SharedLayout& /*layout*/, unsigned char* /*shared*/)
      : args_(args), lane_(lane) {
    const QuantisedRows& x = args.quantised_x;
    const int first_step = task.begin * kSteps;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const auto row_of = [&](int token) { return input_row<kTokens>(args, n * kTileTokens + token); };
      places_[n] = QuantisedPlace<kTokens>(lane, row_of(lane.input_token()) * x.n_steps + first_step,
                                           row_of(lane.token()) * x.n_steps + first_step);
      // Lane 8 p + s reads step s of token p.
      squares_from_[n] =
          row_of(static_cast<int>(lane.lane / kSteps)) * x.n_steps + first_step + static_cast<int>(lane.lane % kSteps);
      pin(places_[n].words), pin(places_[n].sums), pin(squares_from_[n]);
    }
  }

  /// Of the next record.
  __device__ __forceinline__ Operand take() {
    const QuantisedRows& x = args_.quantised_x;
    Operand operand;
    operand.load(lane_, x.words, x.sums, places_);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      if (args_.norm != nullptr) squares_[n] += x.sums[squares_from_[n]].squares;
      places_[n].words += kSteps * kStepBytes;
      places_[n].sums += kSteps;
      squares_from_[n] += kSteps;
    }
    return operand;
  }

  __device__ __forceinline__ void store_squares(float* to, int stride) const {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const float sum = sum_of_steps(squares_[n]);
      const int token = n * kTileTokens + static_cast<int>(lane_.lane / kSteps);
      if (lane_.lane % kSteps == 0 && token < kTokens) to[token * stride] = sum;
    }
  }

 private:
  static constexpr int kTiles = Lane<kTokens>::kTiles;
  const MultiplyArgs& args_;
  const Lane<kTokens>& lane_;
  QuantisedPlace<kTokens> places_[kTiles];
  int squares_from_[kTiles];
  float squares_[kTiles] = {};
};

/// The same for a single token. The columns of several records come at once, to shared memory.
template <class Format>
class StagedInput {
 public:
  using Weights = PreparedWeights<Format, 1>;
  using Operand = QuantisedOperand<Format, 1>;

  __device__ __forceinline__ StagedInput(const MultiplyArgs& args, const Lane<1>& lane, const WarpTask& task,
                                         const SharedLayout& layout, unsigned char* shared)
      : args_(args),
        lane_(lane),
        staged_(shared + layout.staged + warp_of_block() * layout.n_staged * kStagedBytes),
        n_staged_(layout.n_staged),
        n_records_(task.end - task.begin) {
    const QuantisedRows& x = args.quantised_x;
    const int first_step = input_row<1>(args, 0) * x.n_steps + task.begin * kSteps;
    words_ = x.words + static_cast<std::size_t>(first_step) * kStepBytes + lane.lane * 16;
    sums_ = x.sums + first_step + lane.lane % kSteps;
    // Of the lane's words and of its sums: records that have columns there. The others have zeros.
    const int n_left = args.n_cols / kStepOfInput - task.begin * kSteps + kSteps - 1;
    n_words_ = (n_left - static_cast<int>(lane.lane) / kVectorsOfStep) / kSteps;
    n_sums_ = lane.lane < kSteps ? (n_left - static_cast<int>(lane.lane)) / kSteps : 0;
  }

  __device__ __forceinline__ Operand take() {
    if (n_ready_ == 0) stage();
    --n_ready_;
    const auto* sums = reinterpret_cast<const StepSums*>(next_ + kSteps * kStepBytes);
    const QuantisedPlace<1> place[1] = {QuantisedPlace<1>(lane_, 0, 0)};
    Operand operand;
    operand.load(lane_, next_, sums, place);
    if (args_.norm != nullptr) squares_ += sums[lane_.lane % kSteps].squares;
    next_ += kStagedBytes;
    return operand;
  }

  __device__ __forceinline__ void store_squares(float* to, int /*stride*/) const {
    const float sum = sum_of_steps(squares_);
    if (lane_.lane == 0) *to = sum;
  }

 private:
  static constexpr int kVectorsOfStep = 4;  // of words
  static_assert(kSteps * kVectorsOfStep == kWarp);

  /// As many records as there is room for. Returns when they are there.
  __device__ __forceinline__ void stage() {
    next_ = staged_;
    n_ready_ = min(n_records_, n_staged_);
    __syncwarp();  // the lanes have read what was here
    auto* to = reinterpret_cast<uint4*>(staged_);
#pragma unroll 1
    for (int n_left = n_ready_; n_left > 0; n_left -= 2) {
      if (n_left == 1) {
        await<1>(to);
      } else {
        await<2>(to);
      }
      to += 2 * kStagedBytes / static_cast<int>(sizeof(uint4));
    }
    n_records_ -= n_ready_;
    __syncwarp();
  }

  /// Brings the next kCount records to shared memory when they are there. All warps of the processor ask at the same
  /// time, so what is done for each time counts: every operation more is waited for by all.
  template <int kCount>
  __device__ __forceinline__ void await(uint4* to) {
    uint4 words[kCount] = {};
    uint4 sums[kCount] = {};
    bool is_missing = false;
    do {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (i < n_words_) load_words(words[i], words_ + i * kSteps * kStepBytes);
        if (i < n_sums_) load_words(sums[i], sums_ + i * kSteps);
      }
      is_missing = false;
#pragma unroll
      for (int i = 0; i < kCount; ++i) is_missing = is_missing | is_absent(words[i]) | is_absent(sums[i]);
    } while (__any_sync(kAllLanes, is_missing & args_.is_relayed));
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      uint4* at = to + i * (kStagedBytes / static_cast<int>(sizeof(uint4)));
      at[lane_.lane] = words[i];
      if (lane_.lane < kSteps) at[kWarp + lane_.lane] = sums[i];
    }
    words_ += kCount * kSteps * kStepBytes;
    sums_ += kCount * kSteps;
    n_words_ -= kCount, n_sums_ -= kCount;
  }

  const MultiplyArgs& args_;
  const Lane<1>& lane_;
  unsigned char* staged_;
  const unsigned char* next_ = nullptr;  // of the records that are there
  int n_ready_ = 0;
  int n_staged_;            // that there is room for
  const std::byte* words_;  // of the others, with the lane's place
  const StepSums* sums_;
  int n_records_;
  int n_words_;
  int n_sums_;
  float squares_ = 0.0F;
};

template <class Format, int kTokens>
using InputOf =
    std::conditional_t<Format::block_weights == 1, FloatInput<Format, kTokens>,
                       std::conditional_t<kTokens == 1, StagedInput<Format>, QuantisedInput<Format, kTokens>>>;

}  // namespace inlay::cuda
