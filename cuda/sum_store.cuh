// Where the products of a block's warps wait until they are added up (output.cuh).
#pragma once

#include "cuda/lane.cuh"
#include "cuda/multiply_kernels.hpp"
#include "cuda/multiply_task.cuh"
#include "cuda/record_product.cuh"

namespace inlay::cuda {

/// Where the sums of a warp go, panel after panel.
///
/// The lanes of a token among several have the sums of a record. Those of a single token have what belongs to their
/// classes (lane.cuh). Where a warp has one record of a row, they keep it apart, and whoever makes an output adds it up
/// (sum_of_classes_apart).
template <int kTokens>
class SumStore {
 public:
  [[nodiscard]] static __device__ __forceinline__ bool is_apart(const SharedLayout& layout) {
    return kTokens == 1 && layout.apart > 0;
  }

  __device__ __forceinline__ SumStore(const MultiplyArgs& args, const WarpTask& task, const SharedLayout& layout,
                                      unsigned char* shared)
      : layout_(layout),
        panel_floats_(is_apart(layout) ? layout.apart_warps * kApartFloats
                                       : kTokens * kPanelRows * layout.warp_stride) {
    sums_ = is_apart(layout)
                ? reinterpret_cast<float*>(shared + layout.apart) + task.share * kApartFloats + lane_of_warp()
                : reinterpret_cast<float*>(shared + layout.partial) + task.share;
    sums_ += task.group * args.shape.panels_of_group * panel_floats_;
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
  } else {
    auto* panels = reinterpret_cast<float4*>(shared + layout.apart) +
                   task.group * n_panels * layout.apart_warps * kPanelRows;
#pragma unroll 1
    for (int warp = task.n_records() == 0 ? task.share : task.share + n_warps; warp < layout.apart_warps;
         warp += n_warps) {
#pragma unroll 1
      for (int i = lane_of_warp(); i < n_panels * kPanelRows; i += kWarp) {
        panels[(i / kPanelRows * layout.apart_warps + warp) * kPanelRows + i % kPanelRows] = {};
      }
    }
  }
  if (task.group == 0) clear(reinterpret_cast<float*>(shared + layout.squares), kTokens);
  __syncwarp();
}

}  // namespace inlay::cuda
