// The kernel of multiply.hpp. Included by one source file for each width of a batch.
#pragma once

#include <type_traits>

#include "cuda/dependent.cuh"
#include "cuda/multiply_kernels.hpp"
#include "cuda/multiply_task.cuh"
#include "cuda/output.cuh"
#include "cuda/record_product.cuh"

namespace inlay::cuda {
namespace {

// Registers of a thread. With more, fewer blocks wait beside others for their input.
template <int kTokens>
constexpr int kRegisters = kTokens == 1 ? 104 : 128;

template <class Format>
using WeightsOfLane = std::conditional_t<Format::block_weights == 1, FloatLaneWeights<Format>, LaneWeights<Format>>;

__device__ __forceinline__ void copy_vector(unsigned char* to, const std::byte* from) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from));
}
/// The same through the first cache, where it stays.
__device__ __forceinline__ void copy_near(unsigned char* to, const std::byte* from) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from));
}
/// What was copied since the last call is a group of copies.
__device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Returns when at most n groups of copies are on their way.
__device__ __forceinline__ void wait_for_groups(int n) {
  if (n >= 3) {
    asm volatile("cp.async.wait_group 3;" ::: "memory");
  } else if (n == 2) {
    asm volatile("cp.async.wait_group 2;" ::: "memory");
  } else if (n == 1) {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
  } else {
    asm volatile("cp.async.wait_group 0;" ::: "memory");
  }
}

/// The records of a warp's task, in the order in which it takes them: all panels of a record. Some are always on their
/// way to the warp's slots in shared memory.
template <class Format>
class RecordStream {
 public:
  static constexpr int kBytes = Record<Format>::kBytes;

  __device__ __forceinline__ RecordStream(const WarpTask& task, const SharedLayout& layout, unsigned char* shared)
      : task_(task),
        layout_(layout),
        slots_(shared + layout.slots + warp_of_block() * layout.n_slots * layout.slot_bytes),
        next_(task.part->matrix.records +
              (static_cast<std::size_t>(task.first_panel) * static_cast<std::size_t>(task.part->matrix.n_records) +
               static_cast<std::size_t>(task.begin)) *
                  kBytes),
        n_left_(task.n_records()),
        holds_all_(n_left_ <= layout.n_slots) {
#pragma unroll 1
    for (int slot = 0; slot < layout.n_slots; ++slot) fetch(slot);
  }

  /// The next record; the one before it is given up.
  __device__ __forceinline__ WeightsOfLane<Format> take() {
    if (holds_all_) {
      if (slot_ == 0) wait_for_groups(0), __syncwarp();
    } else {
      wait_for_groups(layout_.n_slots - 1);
      __syncwarp();
    }
    const WeightsOfLane<Format> weights(reinterpret_cast<const std::byte*>(slots_ + slot_ * layout_.slot_bytes),
                                        lane_of_warp());
    if (!holds_all_) {
      __syncwarp();
      fetch(slot_);
    }
    slot_ = slot_ + 1 == layout_.n_slots ? 0 : slot_ + 1;
    return weights;
  }

 private:
  /// Puts the next record, if there is one, on its way.
  __device__ __forceinline__ void fetch(int slot) {
    if (n_left_ > 0) {
      unsigned char* to = slots_ + slot * layout_.slot_bytes;
#pragma unroll
      for (int first = 0; first < kBytes; first += kWarp * 16) {
        const int at = first + lane_of_warp() * 16;
        if (at < kBytes) copy_vector(to + at, next_ + at);
      }
      const auto row_bytes = static_cast<std::ptrdiff_t>(task_.part->matrix.n_records) * kBytes;
      next_ += row_bytes;
      if (++panel_ == task_.n_panels) {
        panel_ = 0;
        next_ += kBytes - task_.n_panels * row_bytes;
      }
      --n_left_;
    }
    end_group();
  }

  const WarpTask& task_;
  const SharedLayout& layout_;
  unsigned char* slots_;
  const std::byte* next_;
  int n_left_;
  int panel_ = 0;  // of the next
  int slot_ = 0;
  bool holds_all_;
};

/// Adds the results of a record, in the order of records, to what the warp has of a panel. `sums`: of its first row.
template <int kTokens>
__device__ __forceinline__ void add_partial(float* sums, int stride, const Lane<kTokens>& lane,
                                            const RowPair (&y)[Lane<kTokens>::kTiles]) {
  if constexpr (kTokens == 1) {  // four lanes have the same
    if (lane.share() < 2) {
      sums[(lane.row() + 8 * lane.share()) * stride] += lane.share() == 0 ? y[0].first : y[0].second;
    }
  } else {
#pragma unroll
    for (int n = 0; n < Lane<kTokens>::kTiles; ++n) {
      float* of_token = sums + ((n * kTileTokens + lane.token()) * kPanelRows + lane.row()) * stride;
      of_token[0] += y[n].first;
      of_token[8 * stride] += y[n].second;
    }
  }
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

  __device__ __forceinline__ FloatInput(const MultiplyArgs& args, const Lane<kTokens>& lane, int first_record)
      : args_(args), lane_(lane), record_(first_record) {}
  __device__ __forceinline__ void call_next(unsigned char* /*scratch*/) const {}

  __device__ __forceinline__ Operand take() {
    const int record = record_++;
    Operand operand;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const int row = input_row<kTokens>(args_, n * kTileTokens + lane_.input_token());
      Columns x;
      load(x, args_.x + static_cast<std::size_t>(row) * static_cast<std::size_t>(args_.n_cols), record);
      if (args_.norm != nullptr) {
        Columns norm;
        load(norm, args_.norm, record);
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

  __device__ __forceinline__ void load(Columns& to, const float* row, int record) {
    const int first = record * Record<Format>::kColumns;
    to.load(lane_, row + first, args_.n_cols - first);
  }
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

  __device__ __forceinline__ QuantisedInput(const MultiplyArgs& args, const Lane<kTokens>& lane, int first_record)
      : args_(args), lane_(lane) {
    const QuantisedRows& x = args.quantised_x;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const auto row_of = [&](int token) { return input_row<kTokens>(args, n * kTileTokens + token); };
      places_[n] =
          QuantisedPlace<kTokens>(lane, x, row_of(lane.input_token()), row_of(lane.token()), first_record * kSteps);
      // Lane 8 p + s reads step s of token p.
      squares_from_[n] = (row_of(static_cast<int>(lane.lane / kSteps)) * x.n_steps + first_record * kSteps) +
                         static_cast<int>(lane.lane % kSteps);
      pin(places_[n].words), pin(places_[n].sums), pin(squares_from_[n]);
    }
  }

  /// Of the next record.
  __device__ __forceinline__ Operand take() {
    Operand operand;
    operand.load(lane_, args_.quantised_x, places_);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      if (args_.norm != nullptr) squares_[n] += args_.quantised_x.sums[squares_from_[n]].squares;
      places_[n].words += kSteps * kStepBytes;
      places_[n].sums += kSteps;
      squares_from_[n] += kSteps;
    }
    return operand;
  }

  /// Brings the next record's columns of a single token near, by copying a piece of each of their sectors of 32 bytes
  /// to 512 bytes that nobody reads.
  __device__ __forceinline__ void call_next(unsigned char* scratch) const {
    if constexpr (kTokens == 1) {
      constexpr unsigned kSector = 32;
      constexpr unsigned kOfWords = kSteps * kStepBytes / kSector;
      constexpr unsigned kOfSums = kSteps * sizeof(StepSums) / kSector;
      const QuantisedRows& x = args_.quantised_x;
      const int step = squares_from_[0] - static_cast<int>(lane_.lane % kSteps);
      const std::byte* from = x.words + static_cast<std::size_t>(step) * kStepBytes + lane_.lane * kSector;
      if (lane_.lane >= kOfWords) {
        from = reinterpret_cast<const std::byte*>(x.sums + step) + (lane_.lane - kOfWords) * kSector;
      }
      if (lane_.lane < kOfWords + kOfSums) copy_near(scratch + lane_.lane * 16, from);
    }
  }

  __device__ __forceinline__ void store_squares(float* to, int stride) const {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      float sum = squares_[n];
#pragma unroll
      for (int offset = 1; offset < kSteps; offset *= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
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

template <class Format, int kTokens>
using InputOf =
    std::conditional_t<Format::block_weights == 1, FloatInput<Format, kTokens>, QuantisedInput<Format, kTokens>>;

/// The records of a warp as the product takes them.
template <class Format, int kTokens>
__device__ __forceinline__ typename InputOf<Format, kTokens>::Weights take_weights(RecordStream<Format>& records,
                                                                                   const Lane<kTokens>& lane) {
  if constexpr (Format::block_weights == 1) {
    return records.take();
  } else {
    return PreparedWeights<Format, kTokens>(records.take(), lane);
  }
}

/// Calls for the norm's weights of the warp's columns, which come from far away.
__device__ __forceinline__ void prefetch_norm(const MultiplyArgs& args, int begin, int end) {
  constexpr int kLine = 128 / sizeof(float);
  for (int col = begin + lane_of_warp() * kLine; col < min(end, args.n_cols); col += kWarp * kLine) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(args.norm + col));
  }
}

/// The warp's sums become zeros, and those where no warp stores.
template <int kTokens>
__device__ __forceinline__ void clear_sums(const MultiplyArgs& args, const WarpTask& task, const SharedLayout& layout,
                                           unsigned char* shared) {
  const int n_warps = args.shape.warps_of_group;
  const auto clear = [&](float* sums, int n) {
    for (int i = lane_of_warp(); i < n; i += kWarp) {
      for (int warp = task.share; warp < layout.warp_stride; warp += n_warps)
        sums[i * layout.warp_stride + warp] = 0.0F;
    }
  };
  const int n_panels = args.shape.panels_of_group;
  clear(partial_sums(layout, shared, task.group * n_panels * kTokens), n_panels * kTokens * kPanelRows);
  if (task.group == 0) clear(square_sums(layout, shared, 0), kTokens);
  __syncwarp();
}

/// The sums of the warp's panels over its records, which are on their way before the kernel waits for its input.
template <int kTokens, class Format>
__device__ __forceinline__ void run_warp(const MultiplyArgs& args, const WarpTask& task, const SharedLayout& layout,
                                         unsigned char* shared, OutputInput& of_output) {
  const Lane<kTokens> lane{threadIdx.x % kWarp};
  RecordStream<Format> records(task, layout, shared);
  if (Format::block_weights == 1 && args.norm != nullptr) {
    prefetch_norm(args, task.begin * Record<Format>::kColumns, task.end * Record<Format>::kColumns);
  }
  InputOf<Format, kTokens> input(args, lane, task.begin);
  clear_sums<kTokens>(args, task, layout, shared);
  float* sums = partial_sums(layout, shared, task.group * args.shape.panels_of_group * kTokens) + task.share;
  const int panel_floats = kTokens * kPanelRows * layout.warp_stride;
  int out = -1;
  int angle = -1;
  if (static_cast<int>(threadIdx.x) < layout.n_places) {
    OutputPlace& place = reinterpret_cast<OutputPlace*>(shared + layout.places)[threadIdx.x];
    place = find_output<kTokens>(args, 0);
    out = place.out;
    angle = place.angle;
  }
  int n_left = task.n_records();
  if (n_left > 0) {
    auto weights = take_weights<Format>(records, lane);
    weights.settle();
    wait_for_previous_kernel();
    bool is_first = true;
#pragma unroll 1
    while (n_left > 0) {
      const auto operand = input.take();
      if (n_left > task.n_panels) input.call_next(shared + layout.scratch + warp_of_block() * kScratchBytes);
      if (is_first) of_output.load(args, out, angle);
      is_first = false;
#pragma unroll 1
      for (int panel = 0; panel < task.n_panels; ++panel) {
        RowPair results[Lane<kTokens>::kTiles];
        multiply_record(weights, lane, operand, results);
        add_partial(sums + panel * panel_floats, layout.warp_stride, lane, results);
        if (--n_left > 0) weights = take_weights<Format>(records, lane);
      }
    }
  } else {
    wait_for_previous_kernel();
    of_output.load(args, out, angle);
  }
  if (args.norm != nullptr && task.group == 0) {
    input.store_squares(square_sums(layout, shared, 0) + task.share, layout.warp_stride);
  }
}

template <int kTokens, class... Formats>
__global__ void __maxnreg__(kRegisters<kTokens>)
    multiply_kernel(const __grid_constant__ MultiplyArgs args, const __grid_constant__ SharedLayout layout) {
  extern __shared__ __align__(16) unsigned char shared[];
  allow_next_kernel();
  const WarpTask task = task_of_warp(args);
  OutputInput of_output;
  const auto run = [&]<class Format>() { run_warp<kTokens, Format>(args, task, layout, shared, of_output); };
  if constexpr (sizeof...(Formats) == 1) {
    (run.template operator()<Formats>(), ...);
  } else {
    ((Formats::format == task.part->matrix.format ? run.template operator()<Formats>() : void()), ...);
  }
  __syncthreads();
  // Whole warps have an output, or none.
  if (static_cast<int>(threadIdx.x) < layout.n_places) {
    finish_output<kTokens>(args, layout, shared, reinterpret_cast<OutputPlace*>(shared + layout.places)[threadIdx.x],
                           of_output);
  }
  for (int round = 1; round < layout.n_rounds; ++round) {
    const OutputPlace other = find_output<kTokens>(args, round);
    OutputInput of_other;
    of_other.load(args, other.out, other.angle);
    finish_output<kTokens>(args, layout, shared, other, of_other);
  }
}

/// For the format of all parts, or for the usual pairs.
template <int kTokens>
MultiplyKernel single_or_pair(Format first, Format second) {
  MultiplyKernel kernel = nullptr;
  if (first == second) visit(first, [&](auto traits) { kernel = multiply_kernel<kTokens, decltype(traits)>; });
  const auto use_pair = [&]<class A, class B>(MultiplyKernel of_pair) {
    const bool is_pair = (first == A::format && second == B::format) || (first == B::format && second == A::format);
    if (is_pair) kernel = of_pair;
  };
  use_pair.template operator()<Q4_K, Q6_K>(multiply_kernel<kTokens, Q4_K, Q6_K>);
  use_pair.template operator()<Q5_K, Q6_K>(multiply_kernel<kTokens, Q5_K, Q6_K>);
  return kernel;
}

}  // namespace
}  // namespace inlay::cuda
