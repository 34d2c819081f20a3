// The kernel of multiply.hpp. Included by one source file for each width of a batch.
#pragma once

#include <type_traits>

#include "cuda/async_copy.cuh"
#include "cuda/dependent.cuh"
#include "cuda/multiply_kernels.hpp"
#include "cuda/multiply_task.cuh"
#include "cuda/output.cuh"
#include "cuda/record_product.cuh"

namespace inlay::cuda {
namespace {

constexpr int kRegisters = 128;  // of a thread

/// The records of a warp's task, in the order in which it takes them: all panels of a record. Some are always on their
/// way to the warp's slots in shared memory.
///
/// A slot has the vectors of the planes as the record has them, then 16 bytes for each lane: what it keeps of the scales
/// (four bytes of the rest in the second word), from byte 8 on what its pair of rows shares. So a lane of a single token
/// reads what it has copied itself, and does not wait for others.
template <class Format, int kTokens>
class RecordStream {
 public:
  using R = Record<Format>;
  static constexpr bool kFloats = Format::block_weights == 1;
  static constexpr bool kShared = kTokens > 1 && !kFloats;
  using Weights = std::conditional_t<kFloats, FloatLaneWeights<Format>, SlotWeights<Format, kTokens>>;

  __device__ __forceinline__ RecordStream(const WarpTask& task, const SharedLayout& layout, unsigned char* shared)
      : slots_(shared + layout.slots + warp_of_block() * layout.n_slots * layout.slot_bytes + lane_of_warp() * 16),
        slot_bytes_(layout.slot_bytes),
        end_(layout.n_slots * layout.slot_bytes),
        n_slots_(layout.n_slots),
        n_left_(task.n_records()),
        n_panels_(task.n_panels),
        row_bytes_(task.part->matrix.n_records * static_cast<int>(R::kBytes)),
        back_(static_cast<int>(R::kBytes) - n_panels_ * row_bytes_),
        next_(task.part->matrix.records +
              (static_cast<std::size_t>(task.first_panel) * static_cast<std::size_t>(task.part->matrix.n_records) +
               static_cast<std::size_t>(task.begin)) *
                  R::kBytes +
              lane_of_warp() * 16) {
    if constexpr (!kFloats) {
      const int lane = lane_of_warp();
      main_ = static_cast<int>(R::kScalesOffset) + lane * (R::kScaleBytes.main - 16);
      rest_ = static_cast<int>(R::kRestOffset) + lane / 2 * 4 - lane * 16;
      pair_ = static_cast<int>(R::kPairsOffset) + lane / 4 * R::kScaleBytes.pair - lane * 16;
      pin(main_), pin(rest_), pin(pair_);
    }
    pin(row_bytes_), pin(back_);
#pragma unroll 1
    for (int i = 0; i < layout.n_slots; ++i) {
      fetch();
      go_on();
    }
  }

  /// The next record; the one before it is given up.
  __device__ __forceinline__ Weights take(const Lane<kTokens>& lane) {
    wait_for_groups(n_slots_ - 1);
    if constexpr (kShared) __syncwarp();
    const Weights weights(slots_ + at_, lane);
    if constexpr (kShared) __syncwarp();
    fetch();
    go_on();
    return weights;
  }

 private:
  /// Puts the next record, if there is one, on its way to the present slot.
  __device__ __forceinline__ void fetch() {
    if (n_left_ > 0) {
      unsigned char* to = slots_ + at_;
#pragma unroll
      for (int v = 0; v < R::kVectors; ++v) copy_async<16>(to + v * kWarp * 16, next_ + v * kWarp * 16);
      if constexpr (!kFloats) {
        constexpr ScaleBytes kOf = R::kScaleBytes;
        to += R::kVectors * kWarp * 16;
        copy_async<kOf.main, true>(to, next_ + main_);
        if constexpr (kOf.rest > 0) copy_async<4>(to + 4, next_ + rest_);
        if constexpr (kOf.pair > 0) copy_async<kOf.pair>(to + 8, next_ + pair_);
      }
      next_ += row_bytes_;
      if (++panel_ == n_panels_) {
        panel_ = 0;
        next_ += back_;
      }
      --n_left_;
    }
    end_group();
  }
  __device__ __forceinline__ void go_on() {
    at_ += slot_bytes_;
    if (at_ == end_) at_ = 0;
  }

  unsigned char* slots_;  // with the lane's place
  int slot_bytes_;
  int end_;  // bytes of the slots
  int n_slots_;
  int n_left_;
  int n_panels_;
  int row_bytes_;          // of a panel
  int back_;               // from behind the last panel of a record to the first one of the next
  int panel_ = 0;          // of the next
  int at_ = 0;             // the present slot
  int main_ = 0;           // where the lane finds its scales in a record, from its place
  int rest_ = 0;
  int pair_ = 0;
  const std::byte* next_;  // with the lane's place
};

/// Where the sums of a warp go, panel after panel.
///
/// The lanes of a token among several have the sums of a record. Those of a single token have what belongs to their
/// classes (lane.cuh). Where a warp has one record of a row, they keep it apart and add it up in the end, which takes
/// fewer instructions than joining it at once.
template <int kTokens>
class SumStore {
 public:
  [[nodiscard]] static __device__ __forceinline__ bool is_apart(const SharedLayout& layout) {
    return kTokens == 1 && layout.apart > 0;
  }

  __device__ __forceinline__ SumStore(const MultiplyArgs& args, const WarpTask& task, const SharedLayout& layout,
                                      unsigned char* shared)
      : layout_(layout),
        partial_(reinterpret_cast<float*>(shared + layout.partial) + task.share +
                 task.group * args.shape.panels_of_group * kTokens * kPanelRows * layout.warp_stride) {
    if (is_apart(layout)) {
      panel_floats_ = kApartFloats;
      sums_ = reinterpret_cast<float*>(shared + layout.apart) +
              warp_of_block() * args.shape.panels_of_group * kApartFloats + lane_of_warp();
    } else {
      panel_floats_ = kTokens * kPanelRows * layout.warp_stride;
      sums_ = partial_;
    }
    panels_floats_ = task.n_panels * panel_floats_;
  }

  /// The results of a record. They are added, in the order of records, to what the warp has of a panel.
  __device__ __forceinline__ void add(const Lane<kTokens>& lane, const RowPair (&y)[Lane<kTokens>::kTiles]) {
    float* sums = sums_;
    sums_ += panel_floats_;
    if constexpr (kTokens == 1) {
      if (is_apart(layout_)) {  // lane 4 g + t: row g of class t
        sums[0] = y[0].first;
        sums[kWarp] = y[0].second;
        return;
      }
      const float first[1] = {y[0].first};
      const float second[1] = {y[0].second};
      const RowPair joined = {join_classes<1, 1>(first), join_classes<1, 1>(second)};
      if (lane.share() < 2) {
        sums[(lane.row() + 8 * lane.share()) * layout_.warp_stride] += lane.share() == 0 ? joined.first : joined.second;
      }
    } else {
#pragma unroll
      for (int n = 0; n < Lane<kTokens>::kTiles; ++n) {
        float* of_token = sums + ((n * kTileTokens + lane.token()) * kPanelRows + lane.row()) * layout_.warp_stride;
        of_token[0] += y[n].first;
        of_token[8 * layout_.warp_stride] += y[n].second;
      }
    }
  }

  /// After all panels of a record.
  __device__ __forceinline__ void go_on() { sums_ -= panels_floats_; }

  /// After the last record. Adds up what was kept apart.
  __device__ __forceinline__ void finish(int n_panels) {
    if (!is_apart(layout_)) return;
    __syncwarp();
    const int lane = lane_of_warp();
    const auto* entry = reinterpret_cast<const float4*>(sums_ - lane) + lane;
    float* to = partial_ + lane * layout_.warp_stride;
    const int step = kWarp * layout_.warp_stride;
#pragma unroll 1
    for (; n_panels > 0; n_panels -= kWarp / kPanelRows) {
      if (lane < n_panels * kPanelRows) {
        const float4 classes = *entry;
        *to = sum_of_classes(classes.x, classes.y, classes.z, classes.w);
      }
      entry += kWarp;
      to += step;
    }
  }

 private:
  static constexpr int kApartFloats = kClasses * kPanelRows;

  const SharedLayout& layout_;
  float* partial_;  // of the first panel, row after row
  float* sums_;     // of the present panel
  int panel_floats_;
  int panels_floats_;
};

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
      if (lane_.lane < kOfWords + kOfSums) copy_async<16, true>(scratch + lane_.lane * 16, from);
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

/// Calls for the norm's weights of the warp's columns, which come from far away.
__device__ __forceinline__ void prefetch_norm(const MultiplyArgs& args, int begin, int end) {
  constexpr int kLine = 128 / sizeof(float);
  for (int col = begin + lane_of_warp() * kLine; col < min(end, args.n_cols); col += kWarp * kLine) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(args.norm + col));
  }
}

/// The warp's sums become zeros if they are added to (SumStore), and those where no warp stores.
template <int kTokens>
__device__ __forceinline__ void clear_sums(const MultiplyArgs& args, const WarpTask& task, const SharedLayout& layout,
                                           unsigned char* shared) {
  const int n_warps = args.shape.warps_of_group;
  const auto clear = [&](float* sums, int n, bool with_own) {
#pragma unroll 1
    for (int warp = with_own ? task.share : task.share + n_warps; warp < 4 * layout.n_fours; warp += n_warps) {
#pragma unroll 1
      for (int i = lane_of_warp(); i < n; i += kWarp) sums[i * layout.warp_stride + warp] = 0.0F;
    }
  };
  const int n_sums = args.shape.panels_of_group * kTokens;
  clear(reinterpret_cast<float*>(shared + layout.partial) + task.group * n_sums * kPanelRows * layout.warp_stride,
        n_sums * kPanelRows, !SumStore<kTokens>::is_apart(layout) || task.n_records() == 0);
  if (task.group == 0) clear(reinterpret_cast<float*>(shared + layout.squares), kTokens, true);
  __syncwarp();
}

/// The sums of the warp's panels over its records, which are on their way before the kernel waits for its input. `place`
/// is the thread's, or null.
template <int kTokens, class Format>
__device__ __forceinline__ void run_warp(const MultiplyArgs& args, const WarpTask& task, const SharedLayout& layout,
                                         unsigned char* shared, OutputPlace* place) {
  const Lane<kTokens> lane{threadIdx.x % kWarp};
  RecordStream<Format, kTokens> records(task, layout, shared);
  if (Format::block_weights == 1 && args.norm != nullptr) {
    prefetch_norm(args, task.begin * Record<Format>::kColumns, task.end * Record<Format>::kColumns);
  }
  using Input = InputOf<Format, kTokens>;
  Input input(args, lane, task.begin);
  SumStore<kTokens> sums(args, task, layout, shared);
  typename Input::Operand operand;
  bool waits = true;  // for the kernel before
  int panel = 0;
#pragma unroll 1
  for (int n_left = task.n_records(); n_left > 0; --n_left) {
    const auto taken = records.take(lane);
    const typename Input::Weights weights(taken, lane);
    if (panel == 0) {
      if (waits) {
        weights.settle();
        wait_for_previous_kernel();
      }
      operand = input.take();
      if (n_left > task.n_panels) input.call_next(shared + layout.scratch + warp_of_block() * kScratchBytes);
      if (waits && place != nullptr) fetch_input(args, *place);
      waits = false;
    }
    RowPair results[Lane<kTokens>::kTiles];
    multiply_record(weights, lane, operand, results);
    sums.add(lane, results);
    if (++panel == task.n_panels) {
      panel = 0;
      sums.go_on();
    }
  }
  if (waits) {
    wait_for_previous_kernel();
    if (place != nullptr) fetch_input(args, *place);
  } else {
    sums.finish(task.n_panels);
  }
  if (args.norm != nullptr && task.group == 0) {
    input.store_squares(reinterpret_cast<float*>(shared + layout.squares) + task.share, layout.warp_stride);
  }
  wait_for_copies();
}

template <int kTokens, class... Formats>
__global__ void __maxnreg__(kRegisters)
    multiply_kernel(const __grid_constant__ MultiplyArgs args, const __grid_constant__ SharedLayout layout) {
  extern __shared__ __align__(128) unsigned char shared[];
  allow_next_kernel();
  const WarpTask task = task_of_warp(args);
  OutputPlace* place = nullptr;
  // Whole warps have an output, or none.
  if (static_cast<int>(threadIdx.x) < layout.n_places) {
    place = reinterpret_cast<OutputPlace*>(shared + layout.places) + threadIdx.x;
    *place = find_output<kTokens>(args, layout, 0);
  }
  clear_sums<kTokens>(args, task, layout, shared);
  const auto run = [&]<class Format>() { run_warp<kTokens, Format>(args, task, layout, shared, place); };
  if constexpr (sizeof...(Formats) == 1) {
    (run.template operator()<Formats>(), ...);
  } else {
    ((Formats::format == task.part->matrix.format ? run.template operator()<Formats>() : void()), ...);
  }
  __syncthreads();
  if (place != nullptr) finish_output<kTokens>(args, layout, shared, *place);
  if constexpr (kTokens > 1) {  // a single token has a thread for each output
    for (int round = 1; round < layout.n_rounds; ++round) {
      *place = find_output<kTokens>(args, layout, round);
      fetch_input(args, *place);
      wait_for_copies();
      finish_output<kTokens>(args, layout, shared, *place);
    }
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
