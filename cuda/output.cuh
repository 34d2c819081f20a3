// What follows a product: the sums of a block's warps are added up, and become what the next kernel reads.
#pragma once

#include <cuda_fp16.h>

#include <type_traits>

#include "cuda/arrival.cuh"
#include "cuda/async_copy.cuh"
#include "cuda/lane.cuh"
#include "cuda/multiply_kernels.hpp"
#include "cuda/multiply_task.cuh"
#include "cuda/quantise.cuh"
#include "cuda/shared_load.cuh"

namespace inlay::cuda {

namespace detail {

__device__ __forceinline__ float sum_of(const float4& v) { return sum_of_classes(v.x, v.y, v.z, v.w); }

}  // namespace detail

/// What the warps of a group have of a panel's row, at an address of shared memory, on its way to the registers: sums
/// of warps (of a single token all that a block can have), or where they have classes apart those of kApartWarps warps.
/// All loads that an output needs come first, so that they wait together. They are added in fours, (0 + 1) + (2 + 3),
/// filled up with zeros.
struct WarpSums {
  static constexpr int kFours = kMostWarps / 4;
  float4 fours[kFours] = {};

  template <int kTokens>
  __device__ __forceinline__ void load(int address, int n_warps) {
#pragma unroll
    for (int i = 0; i < kFours; ++i) {
      if (kTokens == 1 || 4 * i < n_warps) load_shared(fours[i], address + 16 * i);
    }
  }
  [[nodiscard]] __device__ __forceinline__ float sum() const {
    float sum = 0.0F;
#pragma unroll
    for (const float4& four : fours) sum += detail::sum_of(four);
    return sum;
  }
};

struct ApartSums {
  float4 classes[kApartWarps];

  __device__ __forceinline__ void load(int address) {
#pragma unroll
    for (int i = 0; i < kApartWarps; ++i) load_shared(classes[i], address + i * kApartBytes);
  }
  [[nodiscard]] __device__ __forceinline__ float added_to(float sum) const {
#pragma unroll
    for (int i = 0; i < kApartWarps; i += 4) {
      sum += sum_of_classes(detail::sum_of(classes[i]), detail::sum_of(classes[i + 1]), detail::sum_of(classes[i + 2]),
                            detail::sum_of(classes[i + 3]));
    }
    return sum;
  }
};

/// The output that a thread of the block makes in round `round`. Reads only what no kernel of the layer writes.
template <int kTokens>
__device__ __forceinline__ OutputPlace find_output(const MultiplyArgs& args, const SharedLayout& layout,
                                                   unsigned char* shared, int round) {
  const MultiplyShape& shape = args.shape;
  const int step = args.epilogue == Epilogue::kGated ? 2 : 1;  // groups of an output
  const int n_panels = shape.n_panels() / step;
  const int i = round * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
  const bool is_inside = i < n_panels * kTokens * kPanelRows;
  const int panel = is_inside ? i / kPanelRows : 0;  // [token][group][panel]
  const int base = shared_address(shared);
  OutputPlace y;
  const int token = kTokens == 1 ? 0 : panel / n_panels;
  const int of_token = panel - token * n_panels;
  const int group = quotient(of_token, shape.inverse_panels);
  const int of_group = of_token - group * shape.panels_of_group;
  const int part = part_of(args, group * step);
  const int row = (first_panel_of(args, part, group * step) + of_group) * kPanelRows + i % kPanelRows;
  const int row_of_pass = static_cast<int>(blockIdx.y) * kTokens + token;
  if (kTokens == 1 && layout.apart > 0) {
    const int of_block = group * step * shape.panels_of_group + of_group;
    y.sums = base + layout.apart + of_block * layout.apart_warps * kApartBytes +
             i % kPanelRows * static_cast<int>(sizeof(float4));
  } else {
    y.sums = base + layout.partial +
             (((group * step * shape.panels_of_group + of_group) * kTokens + token) * kPanelRows + i % kPanelRows) *
                 layout.warp_stride * static_cast<int>(sizeof(float));
  }
  constexpr int kFloatBytes = static_cast<int>(sizeof(float));
  const int n_bytes = kTokens == 1 && layout.apart > 0 ? layout.apart_warps * kApartBytes
                                                       : kTokens * kPanelRows * layout.warp_stride * kFloatBytes;
  y.second_sums = y.sums + shape.panels_of_group * n_bytes;
  y.squares = base + layout.squares + token * layout.warp_stride * static_cast<int>(sizeof(float));
  const MultiplyPart& of = args.parts[part];
  if (!is_inside || row >= of.matrix.n_rows || row_of_pass >= args.n_rows) return y;
  if (of.bias != nullptr) y.bias = of.bias[row];
  if (args.epilogue == Epilogue::kGated && args.parts[1].bias != nullptr) y.second_bias = args.parts[1].bias[row];
  if (args.next_norm != nullptr) y.next_norm = args.next_norm[row];
  if (args.epilogue != Epilogue::kQkv || part == 0) {
    const std::size_t at = static_cast<std::size_t>(row_of_pass) * static_cast<std::size_t>(args.out_stride) +
                           static_cast<std::size_t>(row);
    if (args.out != nullptr) y.out = args.out + at;
    if (args.epilogue == Epilogue::kAdd) y.residual = args.residual + at;
  }
  if (args.quantised_out.words != nullptr) {
    const QuantisedStep to = quantised_step(args.quantised_out, row_of_pass, row / kStepOfInput);
    y.word = to.words + word_of_lane(threadIdx.x % kWarp);
    y.step_sums = to.sums;
  }
  if (args.choice.best != nullptr) y.best = args.choice.best + row_of_pass, y.col = row;
  if (args.epilogue != Epilogue::kQkv) return y;
  const KvStore& kv = args.kv;
  const int head = quotient(row, kv.inverse_head_size);
  y.col = row - head * kv.layout.head_size;
  if (part < 2 && y.col < 2 * kv.n_pairs) y.angle = kv.rope + row_of_pass * kv.n_pairs + y.col / 2;
  if (part == 0) return y;
  const PassRow at = kv.state.rows[row_of_pass];
  y.kv = kv.state.pages[at.first_page + at.position / kKvPagePositions] +
         kv.layout.offset(kv.layer, part - 1, head, at.position % kKvPagePositions);
  if (kv.relay != nullptr) y.kv_relay = kv.relay + ((part - 1) * kv.layout.n_kv_heads + head) * kv.layout.row_bytes;
  return y;
}

/// Calls for what an output, in shared memory, needs of what the kernels before have left. Asynchronous, but for a
/// single token: that asks until it is there, if it is handed over word by word.
template <int kTokens>
__device__ __forceinline__ void fetch_input(const MultiplyArgs& args, OutputPlace& y) {
  if constexpr (kTokens > 1) {
    if (y.residual != nullptr) copy_async<4>(&y.old, y.residual);
    if (y.angle != nullptr) copy_async<8>(&y.turn, y.angle);
  } else {
    const float* residual = y.residual;
    const float2* angle = y.angle;
    float old = 0.0F;
    float2 turn = {1.0F, 0.0F};
    do {
      if (residual != nullptr) load_word(old, residual);
      if (angle != nullptr) load_words(turn, angle);
    } while (args.is_relayed && (is_absent(old) || is_absent(turn)));
    y.old = old, y.turn = turn;
  }
}

namespace detail {

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1.0F + __expf(-x)); }

/// Neighbours of a head turned by the angle; values by none.
__device__ __forceinline__ float rotated(float value, int col, const float2& angle) {
  const float other = __shfl_xor_sync(kAllLanes, value, 1);
  return col % 2 == 0 ? value * angle.x - other * angle.y : value * angle.x + other * angle.y;
}

/// Into the cache and, if there is one, the relay: of two neighbours that have them, the first stores both.
__device__ __forceinline__ void store_kv_halves(const OutputPlace& y, float value) {
  const unsigned own = __half_as_ushort(__float2half_rn(value));
  const unsigned both = present(own | __shfl_xor_sync(kAllLanes, own, 1) << 16U);
  if (y.kv == nullptr || y.col % 2 != 0) return;
  *reinterpret_cast<unsigned*>(y.kv + 2 * y.col) = both;
  if (y.kv_relay != nullptr) store_word(y.kv_relay + 2 * y.col, both);
}

/// The same of 32 neighbours, a block of Q8_0, that a warp has or has not: quants first, then the scales of the row.
/// Four lanes have a word of quants. Neither they nor the halves of scales, that are not negative, can be absent.
__device__ __forceinline__ void store_kv_block(const KvLayout& layout, const OutputPlace& y, float value) {
  if (y.kv == nullptr) return;
  const unsigned most = __reduce_max_sync(kAllLanes, magnitude_bits(value));
  const float scale = __uint_as_float(most) / 127.0F;
  const float inverse = scale > 0.0F ? 1.0F / scale : 0.0F;
  const auto quant = static_cast<unsigned>(__float2int_rn(value * inverse));
  const unsigned pair = zip_pair(quant & 0xFFU);
  const unsigned four = __byte_perm(pair, __shfl_xor_sync(kAllLanes, pair, 2), 0x5410U);
  const unsigned short half = __half_as_ushort(__float2half_rn(scale));
  const auto store = [&](std::byte* row) {
    if (row == nullptr) return;
    if (y.col % 4 == 0) store_word(row + y.col, four);
    if (y.col % 32 == 0) store_half(row + layout.head_size + y.col / 32 * 2, half);
  };
  store(y.kv);
  store(y.kv_relay);
}

}  // namespace detail

/// What a kernel's outputs have in common, in registers: what comes from the arguments is found out before the sums are
/// there, as it takes its time.
///
/// `Ending`: how they are made; says what is known of that when the kernel is compiled (multiply_kernel.cuh).
struct OutputRules {
  int n_warps;     // whose sums are added up
  float inverse;   // of the input's columns
  float epsilon;   // of the norm. Without one, `inverse` is 0 and this 1: a factor of 1
  bool has_quants;   // whole warps have, or none
  int adds_squares;  // 1 if a norm follows, or 0
  template <class Ending>
  __device__ __forceinline__ OutputRules(const MultiplyArgs& args, const SharedLayout& layout, const Ending& ending,
                                         const OutputPlace& y)
      : n_warps(ending.is_apart(layout) ? layout.apart_warps : args.shape.warps_of_group),
        inverse(args.norm == nullptr ? 0.0F : args.inverse_n_cols),
        epsilon(args.norm == nullptr ? 1.0F : args.epsilon),
        has_quants(__any_sync(kAllLanes, y.word != nullptr)),
        adds_squares(args.next_norm != nullptr ? 1 : 0) {
    settle(static_cast<unsigned>(n_warps ^ adds_squares) ^ __float_as_uint(inverse) ^ __float_as_uint(epsilon));
  }
};

namespace detail {

/// The sums of a row of a panel, at an address of shared memory.
template <class Ending>
class RowSums {
 public:
  __device__ __forceinline__ RowSums(int address, int n_warps) : address_(address), n_warps_(n_warps) {
    if constexpr (Ending::kIsApart) {
      sums_.load(address);
    } else {
      sums_.template load<Ending::kTokens>(address, n_warps);
    }
  }
  [[nodiscard]] __device__ __forceinline__ float sum() {
    if constexpr (Ending::kIsApart) {
      float sum = sums_.added_to(0.0F);
#pragma unroll 1
      for (int warp = kApartWarps; warp < n_warps_; warp += kApartWarps) {
        sums_.load(address_ + warp * kApartBytes);
        sum = sums_.added_to(sum);
      }
      return sum;
    } else {
      return sums_.sum();
    }
  }

 private:
  std::conditional_t<Ending::kIsApart, ApartSums, WarpSums> sums_;
  int address_;
  int n_warps_;
};

}  // namespace detail

/// After all warps have stored their sums. All lanes of a warp take part.
template <class Ending>
__device__ __forceinline__ void finish_output(const MultiplyArgs& args, const Ending& ending, const OutputRules& rules,
                                              const OutputPlace& y) {
  WarpSums all_squares;
  detail::RowSums<Ending> one(y.sums, rules.n_warps);
  float factor = 1.0F;
  float value = 0.0F;
  if (ending.is(Epilogue::kGated)) {
    detail::RowSums<Ending> two(y.second_sums, rules.n_warps);
    all_squares.template load<Ending::kTokens>(y.squares, args.shape.warps_of_group);
    factor = rsqrtf(fmaf(all_squares.sum(), rules.inverse, rules.epsilon));
    const float gate = fmaf(factor, one.sum(), y.bias);
    value = detail::silu(gate) * fmaf(factor, two.sum(), y.second_bias);
  } else {
    all_squares.template load<Ending::kTokens>(y.squares, args.shape.warps_of_group);
    factor = rsqrtf(fmaf(all_squares.sum(), rules.inverse, rules.epsilon));
    value = fmaf(factor, one.sum(), y.bias);
  }
  if (ending.is(Epilogue::kQkv)) {
    value = detail::rotated(value, y.col, y.turn);
    if (args.kv.layout.quantised) {
      detail::store_kv_block(args.kv.layout, y, value);
    } else {
      detail::store_kv_halves(y, value);
    }
  }
  value += y.old;
  value = present(value);
  // The words that the next kernel waits for come first.
  if (rules.has_quants) {
    quantise_columns<true>(y.word, y.step_sums, value * y.next_norm, rules.adds_squares == 0 ? 0.0F : value);
  }
  if (y.out != nullptr) store_word(y.out, value);
  if (ending.is(Epilogue::kStore) && args.choice.best != nullptr) keep_best(y.best, y.col, value);
}

}  // namespace inlay::cuda
