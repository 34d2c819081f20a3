// The part of a product that a warp has.
#pragma once

#include "cuda/dependent.cuh"
#include "cuda/lane.cuh"
#include "cuda/multiply_task.cuh"
#include "cuda/output.cuh"
#include "cuda/record_stream.cuh"
#include "cuda/sum_store.cuh"
#include "cuda/warp_input.cuh"

namespace inlay::cuda {

/// Calls for the norm's weights of the warp's columns, which come from far away.
__device__ __forceinline__ void prefetch_norm(const MultiplyArgs& args, int begin, int end) {
  constexpr int kLine = 128 / sizeof(float);
  for (int col = begin + lane_of_warp() * kLine; col < min(end, args.n_cols); col += kWarp * kLine) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(args.norm + col));
  }
}

/// Waits until the input may be read, and calls for what the outputs need besides.
template <int kTokens>
__device__ __forceinline__ void begin_input(const MultiplyArgs& args, OutputPlace* place) {
  if (kTokens > 1 || !args.is_relayed) wait_for_previous_kernel();
  if (place != nullptr) fetch_input<kTokens>(args, *place);
}

/// The sums of the warp's panels over its records, which are on their way before the kernel waits for its input.
/// `place` is the thread's, or null.
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

}  // namespace inlay::cuda
