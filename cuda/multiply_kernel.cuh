// The kernel of multiply.hpp. Included by one source file for each width of a batch.
#pragma once

#include <type_traits>

#include "cuda/arrival.cuh"
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
/// classes (lane.cuh). Where a warp has one record of a row, they keep it apart, and whoever makes an output adds it up
/// (WarpSums).
template <int kTokens>
class SumStore {
 public:
  [[nodiscard]] static __device__ __forceinline__ bool is_apart(const SharedLayout& layout) {
    return kTokens == 1 && layout.apart > 0;
  }

  __device__ __forceinline__ SumStore(const MultiplyArgs& args, const WarpTask& task, const SharedLayout& layout,
                                      unsigned char* shared)
      : layout_(layout),
        panel_floats_(is_apart(layout) ? kApartFloats : kTokens * kPanelRows * layout.warp_stride) {
    if (is_apart(layout)) {
      sums_ = reinterpret_cast<float*>(shared + layout.apart) +
              warp_of_block() * args.shape.panels_of_group * kApartFloats + lane_of_warp();
    } else {
      sums_ = reinterpret_cast<float*>(shared + layout.partial) + task.share +
              task.group * args.shape.panels_of_group * panel_floats_;
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

 private:
  static constexpr int kApartFloats = kApartBytes / static_cast<int>(sizeof(float));

  const SharedLayout& layout_;
  float* sums_;  // of the present panel
  int panel_floats_;
  int panels_floats_;
};

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
      if constexpr (kTokens == 1) {
        do {
          x.load_strong(lane_, from, n_left);
        } while (args_.is_relayed && __any_sync(kAllLanes, x.has_absent()));
      } else {
        x.load(lane_, from, n_left);
      }
      if (args_.norm != nullptr) {
        Columns norm;
        norm.load(lane_, args_.norm + first, n_left);
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
  static constexpr int kAtOnce = 2;         // records
  static constexpr int kVectorsOfStep = 4;  // of words
  static_assert(kSteps * kVectorsOfStep == kWarp);

  /// As many records as there is room for. Returns when they are there.
  __device__ __forceinline__ void stage() {
    next_ = staged_;
    n_ready_ = min(n_records_, n_staged_);
    __syncwarp();  // the lanes have read what was here
#pragma unroll 1
    for (int n = 0; n < n_ready_; n += kAtOnce) {
      uint4 words[kAtOnce] = {};
      uint4 sums[kAtOnce] = {};
      bool is_waiting = false;
      do {
        is_waiting = false;
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          if (n + i >= n_ready_) break;
          if (n + i < n_words_) load_words(words[i], words_ + i * kSteps * kStepBytes);
          if (n + i < n_sums_) load_words(sums[i], sums_ + i * kSteps);
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) is_waiting |= is_absent(words[i]) || is_absent(sums[i]);
      } while (args_.is_relayed && __any_sync(kAllLanes, is_waiting));
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (n + i >= n_ready_) break;
        auto* at = reinterpret_cast<uint4*>(staged_ + (n + i) * kStagedBytes);
        at[lane_.lane] = words[i];
        if (lane_.lane < kSteps) at[kWarp + lane_.lane] = sums[i];
      }
      words_ += kAtOnce * kSteps * kStepBytes;
      sums_ += kAtOnce * kSteps;
    }
    n_records_ -= n_ready_, n_words_ -= n_ready_, n_sums_ -= n_ready_;
    __syncwarp();
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
using InputOf = std::conditional_t<
    Format::block_weights == 1, FloatInput<Format, kTokens>,
    std::conditional_t<kTokens == 1, StagedInput<Format>, QuantisedInput<Format, kTokens>>>;

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
  const auto clear = [&](float* sums, int n) {
#pragma unroll 1
    for (int warp = task.share; warp < 4 * layout.n_fours; warp += n_warps) {
#pragma unroll 1
      for (int i = lane_of_warp(); i < n; i += kWarp) sums[i * layout.warp_stride + warp] = 0.0F;
    }
  };
  const int n_panels = args.shape.panels_of_group;
  if (!SumStore<kTokens>::is_apart(layout)) {
    const int n_sums = n_panels * kTokens * kPanelRows;
    clear(reinterpret_cast<float*>(shared + layout.partial) + task.group * n_sums * layout.warp_stride, n_sums);
  } else if (task.n_records() == 0) {
    auto* own = reinterpret_cast<float4*>(shared + layout.apart + warp_of_block() * n_panels * kApartBytes);
    for (int i = lane_of_warp(); i < n_panels * kPanelRows; i += kWarp) own[i] = {};
  }
  if (task.group == 0) clear(reinterpret_cast<float*>(shared + layout.squares), kTokens);
  __syncwarp();
}

/// Waits until the input may be read, and calls for what the outputs need besides.
template <int kTokens>
__device__ __forceinline__ void begin_input(const MultiplyArgs& args, OutputPlace* place) {
  if (kTokens > 1 || !args.is_relayed) wait_for_previous_kernel();
  if (place != nullptr) fetch_input<kTokens>(args, *place);
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
  Input input(args, lane, task, layout, shared);
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
        begin_input<kTokens>(args, place);
      }
      operand = input.take();
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
  if (waits) begin_input<kTokens>(args, place);
  if (__any_sync(kAllLanes, args.norm != nullptr && task.group == 0)) {
    input.store_squares(reinterpret_cast<float*>(shared + layout.squares) + task.share, layout.warp_stride);
  }
  if constexpr (kTokens > 1) wait_for_copies();
}

template <int kTokens, class... Formats>
__global__ void __maxnreg__(kRegisters)
    multiply_kernel(const __grid_constant__ MultiplyArgs args, const __grid_constant__ SharedLayout layout) {
  extern __shared__ __align__(128) unsigned char shared[];
  allow_next_kernel();
  const WarpTask task = task_of_warp(args);
  OutputPlace* place = nullptr;
  // Whole warps have an output, or none.
  // The vote tells the compiler that a warp's lanes go the same way: without that, it adds a branch to every shuffle.
  const bool has_output = __any_sync(kAllLanes, static_cast<int>(threadIdx.x) < layout.n_places);
  if (has_output) {
    place = reinterpret_cast<OutputPlace*>(shared + layout.places) + threadIdx.x;
    *place = find_output<kTokens>(args, layout, shared, 0);
  }
  clear_sums<kTokens>(args, task, layout, shared);
  const auto run = [&]<class Format>() { run_warp<kTokens, Format>(args, task, layout, shared, place); };
  if constexpr (sizeof...(Formats) == 1) {
    (run.template operator()<Formats>(), ...);
  } else {
    ((Formats::format == task.part->matrix.format ? run.template operator()<Formats>() : void()), ...);
  }
  OutputPlace y;
  if (has_output) y = *place;
  __syncthreads();
  if (has_output) finish_output<kTokens>(args, layout, y);
  if constexpr (kTokens > 1) {  // a single token has a thread for each output
    for (int round = 1; round < layout.n_rounds; ++round) {
      *place = find_output<kTokens>(args, layout, shared, round);
      fetch_input<kTokens>(args, *place);
      wait_for_copies();
      finish_output<kTokens>(args, layout, *place);
    }
  } else {
    wait_for_previous_kernel();  // so that a kernel that has ended says the same of all before it
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
