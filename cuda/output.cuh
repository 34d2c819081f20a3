// What follows a product: the sums of a block's warps are added up, and become what the next kernel reads.
#pragma once

#include <cuda_fp16.h>

#include "cuda/lane.cuh"
#include "cuda/multiply_kernels.hpp"
#include "cuda/multiply_task.cuh"
#include "cuda/quantise.cuh"

namespace inlay::cuda {

/// The sum of n <= 16 floats, a multiple of four.
__device__ __forceinline__ float sum_of_fours(const float* values, int n) {
  float4 fours[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) fours[i] = 4 * i < n ? reinterpret_cast<const float4*>(values)[i] : float4{};
  float sum = 0.0F;
#pragma unroll
  for (const float4& four : fours) sum += (four.x + four.y) + (four.z + four.w);
  return sum;
}

/// Where the sums of the block's panels stand: float [panel][token][row][warp of the group], filled up with zeros to
/// four warps.
__device__ __forceinline__ float* partial_sums(const SharedLayout& layout, unsigned char* shared, int panel_and_token) {
  return reinterpret_cast<float*>(shared + layout.partial) + panel_and_token * kPanelRows * layout.warp_stride;
}

/// Sums of squares of a token: float [warp of the first group], filled up with zeros.
__device__ __forceinline__ float* square_sums(const SharedLayout& layout, unsigned char* shared, int token) {
  return reinterpret_cast<float*>(shared + layout.squares) + token * layout.warp_stride;
}

/// The output that a thread of the block makes in round `round`. Reads only what no kernel of the layer writes.
template <int kTokens>
__device__ __forceinline__ OutputPlace find_output(const MultiplyArgs& args, int round) {
  const MultiplyShape& shape = args.shape;
  const int step = args.epilogue == Epilogue::kGated ? 2 : 1;  // groups of an output
  const int n_panels = shape.n_panels() / step;
  const int i = round * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
  const bool is_inside = i < n_panels * kTokens * kPanelRows;
  const int panel = is_inside ? i / kPanelRows : 0;  // [token][group][panel]
  OutputPlace y;
  y.token = kTokens == 1 ? 0 : panel / n_panels;
  const int of_token = panel - y.token * n_panels;
  const int group = of_token / shape.panels_of_group;
  const int of_group = of_token - group * shape.panels_of_group;
  const int part = part_of(args, group * step);
  const int row = (first_panel_of(args, part, group * step) + of_group) * kPanelRows + i % kPanelRows;
  const int row_of_pass = static_cast<int>(blockIdx.y) * kTokens + y.token;
  y.sums = (group * step * shape.panels_of_group + of_group) * kTokens + y.token;
  const MultiplyPart& of = args.parts[part];
  if (!is_inside || row >= of.matrix.n_rows || row_of_pass >= args.n_rows) return y;
  if (of.bias != nullptr) y.bias = of.bias[row];
  if (args.epilogue == Epilogue::kGated && args.parts[1].bias != nullptr) y.second_bias = args.parts[1].bias[row];
  if (args.next_norm != nullptr) y.next_norm = args.next_norm[row];
  if (args.epilogue != Epilogue::kQkv || part == 0) y.out = row_of_pass * args.out_stride + row;
  if (args.quantised_out.words != nullptr) y.step = row_of_pass * args.quantised_out.n_steps + row / kStepOfInput;
  if (args.epilogue != Epilogue::kQkv) return y;
  const KvStore& kv = args.kv;
  const int head = row / kv.layout.head_size;
  y.col = row - head * kv.layout.head_size;
  if (part < 2 && y.col < 2 * kv.n_pairs) y.angle = row_of_pass * kv.n_pairs + y.col / 2;
  if (part == 0) return y;
  const PassRow at = kv.state.rows[row_of_pass];
  y.kv = kv.state.pages[at.first_page + at.position / kKvPagePositions] +
         kv.layout.offset(kv.layer, part - 1, head, at.position % kKvPagePositions);
  return y;
}

/// What an output needs of what the kernels before have left.
struct OutputInput {
  float old = 0.0F;  // kAdd: what is added to
  float2 angle = {1.0F, 0.0F};

  __device__ __forceinline__ void load(const MultiplyArgs& args, int out, int angle_from) {
    if (args.epilogue == Epilogue::kAdd && out >= 0) old = args.out[out];
    if (args.epilogue == Epilogue::kQkv && angle_from >= 0) angle = args.kv.state.rope[angle_from];
  }
};

namespace detail {

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1.0F + __expf(-x)); }

/// Neighbours of a head turned by the angle; values by none.
__device__ __forceinline__ float rotated(float value, int col, const float2& angle) {
  const float other = __shfl_xor_sync(kAllLanes, value, 1);
  return col % 2 == 0 ? value * angle.x - other * angle.y : value * angle.x + other * angle.y;
}

__device__ __forceinline__ void store_kv(const KvLayout& layout, const OutputPlace& y, float value) {
  if (!layout.quantised) {
    reinterpret_cast<__half*>(y.kv)[y.col] = __float2half_rn(value);
    return;
  }
  // The warp holds 32 neighbours of the head: a block of Q8_0. Quants first, then the scales of the row.
  const unsigned most = __reduce_max_sync(kAllLanes, magnitude_bits(value));
  const float scale = __uint_as_float(most) / 127.0F;
  const float inverse = scale > 0.0F ? 1.0F / scale : 0.0F;
  reinterpret_cast<signed char*>(y.kv)[y.col] = static_cast<signed char>(__float2int_rn(value * inverse));
  if (y.col % 32 == 0) reinterpret_cast<__half*>(y.kv + layout.head_size)[y.col / 32] = __float2half_rn(scale);
}

}  // namespace detail

/// After all warps have stored their sums. All lanes of a warp take part.
template <int kTokens>
__device__ __forceinline__ void finish_output(const MultiplyArgs& args, const SharedLayout& layout,
                                              unsigned char* shared, const OutputPlace& y, const OutputInput& input) {
  const int stride = layout.warp_stride;
  float factor = 1.0F;
  if (args.norm != nullptr) {
    const float squares = sum_of_fours(square_sums(layout, shared, y.token), stride);
    factor = rsqrtf(fmaf(squares, args.inverse_n_cols, args.epsilon));
  }
  const float* sums = partial_sums(layout, shared, y.sums) + threadIdx.x % kPanelRows * stride;
  float value = fmaf(factor, sum_of_fours(sums, stride), y.bias);
  if (args.epilogue == Epilogue::kGated) {
    const float* others = sums + args.shape.panels_of_group * kTokens * kPanelRows * stride;
    value = detail::silu(value) * fmaf(factor, sum_of_fours(others, stride), y.second_bias);
  }
  if (args.epilogue == Epilogue::kQkv) {
    value = detail::rotated(value, y.col, input.angle);
    if (y.kv != nullptr) detail::store_kv(args.kv.layout, y, value);  // as a block of 32 rows, all lanes or none
  }
  value += input.old;
  if (y.out >= 0) args.out[y.out] = value;
  if (y.step >= 0) {
    const QuantisedRows& to = args.quantised_out;
    quantise_step({to.words + static_cast<std::size_t>(y.step) * kStepBytes, to.sums + y.step}, value * y.next_norm,
                  value);
  }
}

}  // namespace inlay::cuda
