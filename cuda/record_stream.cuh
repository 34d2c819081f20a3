// How records come to the warp that multiplies with them.
#pragma once

#include <type_traits>

#include "cuda/async_copy.cuh"
#include "cuda/lane.cuh"
#include "cuda/multiply_kernels.hpp"
#include "cuda/multiply_task.cuh"
#include "cuda/record_product.cuh"

namespace inlay::cuda {

/// The records of a warp's task, in the order in which it takes them: all panels of a record. Some are always on their
/// way to the warp's slots in shared memory. At the beginning, a single token's come one after the other: all at once
/// they would hold up the words that other kernels hand over at that time.
///
/// A slot has the vectors of the planes as the record has them, then 16 bytes for each lane: what it keeps of the
/// scales (four bytes of the rest in the second word), from byte 8 on what its pair of rows shares. So a lane of a
/// single token reads what it has copied itself, and does not wait for others.
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
      if (kTokens == 1 && i + 1 < layout.n_slots) wait_for_groups(layout.n_ahead);
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

}  // namespace inlay::cuda
