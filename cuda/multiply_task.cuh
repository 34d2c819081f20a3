// Which part of a product a block and a warp have to do.
#pragma once

#include "cuda/multiply.hpp"
#include "cuda/record.hpp"

namespace inlay::cuda {

/// The work of a warp: records [begin, end) of panels [first_panel, first_panel + n_panels) of a part.
struct WarpTask {
  const MultiplyPart* part = nullptr;
  int first_panel = 0;
  int n_panels = 0;
  int begin = 0;
  int end = 0;
  int group = 0;  // of the warp
  int share = 0;  // its place in the group
  [[nodiscard]] __device__ __forceinline__ int n_records() const { return n_panels * (end - begin); }
};

__device__ __forceinline__ int warp_of_block() { return static_cast<int>(threadIdx.x / kWarp); }
__device__ __forceinline__ int lane_of_warp() { return static_cast<int>(threadIdx.x % kWarp); }

/// The part that a group of the block belongs to.
__device__ __forceinline__ int part_of(const MultiplyArgs& args, int group) {
  if (args.epilogue == Epilogue::kGated) return group % 2;
  const int block = static_cast<int>(blockIdx.x);
  int part = 0;
  while (part + 1 < args.n_parts && block >= args.parts[part + 1].first_block) ++part;
  return part;
}

__device__ __forceinline__ int first_panel_of(const MultiplyArgs& args, int part, int group) {
  const MultiplyShape& shape = args.shape;
  const int block = static_cast<int>(blockIdx.x);
  if (args.epilogue == Epilogue::kGated) return (block * (shape.n_groups / 2) + group / 2) * shape.panels_of_group;
  return ((block - args.parts[part].first_block) * shape.n_groups + group) * shape.panels_of_group;
}

__device__ __forceinline__ WarpTask task_of_warp(const MultiplyArgs& args) {
  const MultiplyShape& shape = args.shape;
  WarpTask task;
  task.group = warp_of_block() / shape.warps_of_group;
  task.share = warp_of_block() - task.group * shape.warps_of_group;
  const int part = part_of(args, task.group);
  task.part = &args.parts[part];
  const DeviceMatrix& matrix = task.part->matrix;
  task.first_panel = first_panel_of(args, part, task.group);
  const int n_panels = (matrix.n_rows + kPanelRows - 1) / kPanelRows;
  task.n_panels = max(0, min(shape.panels_of_group, n_panels - task.first_panel));
  task.begin = matrix.n_records * task.share / shape.warps_of_group;
  task.end = matrix.n_records * (task.share + 1) / shape.warps_of_group;
  return task;
}

}  // namespace inlay::cuda
