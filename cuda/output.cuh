// What follows a product: the sums of a block's warps are added up, and become what the next kernel reads.
#pragma once

#include <cuda_fp16.h>

#include "cuda/async_copy.cuh"
#include "cuda/lane.cuh"
#include "cuda/multiply_kernels.hpp"
#include "cuda/multiply_task.cuh"
#include "cuda/quantise.cuh"

namespace inlay::cuda {

/// The sum of what the warps of a group have, filled up with zeros to so many fours.
__device__ __forceinline__ float sum_of_warps(const unsigned char* shared, int n_fours) {
  const auto* fours = reinterpret_cast<const float4*>(shared);
  float sum = 0.0F;
#pragma unroll
  for (int i = 0; i < kMostWarps / 4; ++i) {
    if (i >= n_fours) break;
    const float4 four = fours[i];
    sum += (four.x + four.y) + (four.z + four.w);
  }
  return sum;
}

/// The output that a thread of the block makes in round `round`. Reads only what no kernel of the layer writes.
template <int kTokens>
__device__ __forceinline__ OutputPlace find_output(const MultiplyArgs& args, const SharedLayout& layout, int round) {
  const MultiplyShape& shape = args.shape;
  const int step = args.epilogue == Epilogue::kGated ? 2 : 1;  // groups of an output
  const int n_panels = shape.n_panels() / step;
  const int i = round * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
  const bool is_inside = i < n_panels * kTokens * kPanelRows;
  const int panel = is_inside ? i / kPanelRows : 0;  // [token][group][panel]
  OutputPlace y;
  const int token = kTokens == 1 ? 0 : panel / n_panels;
  const int of_token = panel - token * n_panels;
  const int group = quotient(of_token, shape.inverse_panels);
  const int of_group = of_token - group * shape.panels_of_group;
  const int part = part_of(args, group * step);
  const int row = (first_panel_of(args, part, group * step) + of_group) * kPanelRows + i % kPanelRows;
  const int row_of_pass = static_cast<int>(blockIdx.y) * kTokens + token;
  y.sums = layout.partial +
           (((group * step * shape.panels_of_group + of_group) * kTokens + token) * kPanelRows + i % kPanelRows) *
               layout.warp_stride * static_cast<int>(sizeof(float));
  y.squares = layout.squares + token * layout.warp_stride * static_cast<int>(sizeof(float));
  const MultiplyPart& of = args.parts[part];
  if (!is_inside || row >= of.matrix.n_rows || row_of_pass >= args.n_rows) return y;
  if (of.bias != nullptr) y.bias = of.bias[row];
  if (args.epilogue == Epilogue::kGated && args.parts[1].bias != nullptr) y.second_bias = args.parts[1].bias[row];
  if (args.next_norm != nullptr) y.next_norm = args.next_norm[row];
  if (args.epilogue != Epilogue::kQkv || part == 0) {
    y.out = args.out + static_cast<std::size_t>(row_of_pass) * static_cast<std::size_t>(args.out_stride) + row;
  }
  if (args.quantised_out.words != nullptr) {
    const QuantisedStep to = quantised_step(args.quantised_out, row_of_pass, row / kStepOfInput);
    y.bytes = to.words + byte_of_lane(threadIdx.x % kWarp);
    y.step_sums = to.sums;
  }
  if (args.epilogue != Epilogue::kQkv) return y;
  const KvStore& kv = args.kv;
  const int head = quotient(row, kv.inverse_head_size);
  y.col = row - head * kv.layout.head_size;
  if (part < 2 && y.col < 2 * kv.n_pairs) y.angle = kv.state.rope + row_of_pass * kv.n_pairs + y.col / 2;
  if (part == 0) return y;
  const PassRow at = kv.state.rows[row_of_pass];
  y.kv = kv.state.pages[at.first_page + at.position / kKvPagePositions] +
         kv.layout.offset(kv.layer, part - 1, head, at.position % kKvPagePositions);
  return y;
}

/// Calls for what an output, in shared memory, needs of what the kernels before have left. Asynchronous.
__device__ __forceinline__ void fetch_input(const MultiplyArgs& args, OutputPlace& y) {
  if (args.epilogue == Epilogue::kAdd && y.out != nullptr) copy_async<4>(&y.old, y.out);
  if (y.angle != nullptr) copy_async<8>(&y.turn, y.angle);
}

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
                                              unsigned char* shared, const OutputPlace& y) {
  float factor = 1.0F;
  if (args.norm != nullptr) {
    const float squares = sum_of_warps(shared + y.squares, layout.n_fours);
    factor = rsqrtf(fmaf(squares, args.inverse_n_cols, args.epsilon));
  }
  float value = fmaf(factor, sum_of_warps(shared + y.sums, layout.n_fours), y.bias);
  if (args.epilogue == Epilogue::kGated) {
    const int other =
        args.shape.panels_of_group * kTokens * kPanelRows * layout.warp_stride * static_cast<int>(sizeof(float));
    value = detail::silu(value) * fmaf(factor, sum_of_warps(shared + y.sums + other, layout.n_fours), y.second_bias);
  }
  if (args.epilogue == Epilogue::kQkv) {
    value = detail::rotated(value, y.col, y.turn);
    if (y.kv != nullptr) detail::store_kv(args.kv.layout, y, value);  // as a block of 32 rows, all lanes or none
  }
  value += y.old;
  if (y.out != nullptr) *y.out = value;
  if (y.bytes != nullptr) {
    quantise_columns(y.bytes, y.step_sums, value * y.next_norm,
                     args.next_norm == nullptr ? 0.0F : sum_of_squares(value));
  }
}

}  // namespace inlay::cuda
