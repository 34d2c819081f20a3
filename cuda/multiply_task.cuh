// Which part of a product a block and a warp have to do.
#pragma once

#include "cuda/lane.cuh"
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

/// a / b, of 0 <= a < 2^21 and b's inverse: off by less than half of the inverse.
__device__ __forceinline__ int quotient(int a, float inverse_of_b) {
  return static_cast<int>((static_cast<float>(a) + 0.5F) * inverse_of_b);
}

/// The part that a group of the block belongs to.
__device__ __forceinline__ int part_of(const MultiplyArgs& args, int group) {
  if (args.epilogue == Epilogue::kGated) return group % 2;
  const int block = static_cast<int>(blockIdx.x);
  int part = 0;
#pragma unroll
  for (int i = 1; i < 3; ++i) part += i < args.n_parts && block >= args.parts[i].first_block ? 1 : 0;
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
  task.group = quotient(warp_of_block(), shape.inverse_warps);
  task.share = warp_of_block() - task.group * shape.warps_of_group;
  const int part = part_of(args, task.group);
  task.part = &args.parts[part];
  const DeviceMatrix& matrix = task.part->matrix;
  task.first_panel = first_panel_of(args, part, task.group);
  const int n_panels = (matrix.n_rows + kPanelRows - 1) / kPanelRows;
  task.n_panels = max(0, min(shape.panels_of_group, n_panels - task.first_panel));
  task.begin = quotient(matrix.n_records * task.share, shape.inverse_warps);
  task.end = quotient(matrix.n_records * (task.share + 1), shape.inverse_warps);
  return task;
}

}  // namespace inlay::cuda
