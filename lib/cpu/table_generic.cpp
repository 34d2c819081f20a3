// The kernels in plain C++: what runs where nothing better does, and the twin that tests compare the others with.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/half.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/unpack_generic.hpp"

namespace inlay::cpu {
namespace {

constexpr int kTokenTile = 8;  // tokens that share the unpacking of a block

float weight_value(const BlockF32& block) { return block.value; }
float weight_value(const BlockF16& block) { return half_to_float(block.value); }
float weight_value(const BlockBF16& block) { return bfloat16_to_float(block.value); }

template <class Block>
Block load_block(const std::byte* blocks, int i) {
  Block block;  // a copy: the bytes have no alignment
  std::memcpy(&block, blocks + static_cast<std::size_t>(i) * sizeof(Block), sizeof(Block));
  return block;
}

std::size_t offset(int row, int n_cols) { return static_cast<std::size_t>(row) * static_cast<std::size_t>(n_cols); }

/// sums[t] = dot(weights, activations[first_token + t]) with float weights.
template <class Traits>
void dot_floats(const std::byte* weights, const Activations& x, int first_token, int n_tokens, float* sums) {
  for (int i = 0; i < x.n_cols; ++i) {
    const float weight = weight_value(load_block<typename Traits::Block>(weights, i));
    for (int t = 0; t < n_tokens; ++t) sums[t] += weight * x.values[offset(first_token + t, x.n_cols) + i];
  }
}

/// Of 16 weights with (value - zero).
int dot_group(const std::int8_t* weights, const std::int8_t* quants, int zero) {
  int sum = 0;
  for (int i = 0; i < kGroup; ++i) sum += weights[i] * (quants[i] - zero);
  return sum;
}

/// total + what 32 columns add to it, from group `g` of the block on. The operations and their order are those of the
/// vector kernels (kernels/matmul.inl), so all tables give the same bits.
template <class Traits>
float add_block(const UnpackedBlock& block, int g, const ActivationBlock& x, float total) {
  const int first = dot_group(block.quants + g * kGroup, x.quants, x.zero);
  const int second = dot_group(block.quants + (g + 1) * kGroup, x.quants + kGroup, x.zero);
  if constexpr (Panel<Traits>::kGroup == 32) {
    total = std::fma(static_cast<float>(first + second), block.scales[g] * x.scale, total);
    if constexpr (Panel<Traits>::kMinimums) total = std::fma(block.minimums[g], x.sum, total);
  } else {
    const float scaled =
        std::fma(static_cast<float>(second), block.scales[g + 1], static_cast<float>(first) * block.scales[g]);
    total = std::fma(scaled, x.scale, total);
    if constexpr (Panel<Traits>::kMinimums) {
      total = std::fma(block.minimums[g], x.half_sums[0], total);
      total = std::fma(block.minimums[g + 1], x.half_sums[1], total);
    }
  }
  return total;
}

/// sums[t] = dot(weights, activations[first_token + t]) with quantised weights and activations.
template <class Traits>
void dot_quantized(const std::byte* weights, const Activations& x, int first_token, int n_tokens, float* sums) {
  constexpr int kBlocks = Traits::block_weights / kActivationBlock;
  UnpackedBlock block;
  for (int b = 0; b < x.n_cols / Traits::block_weights; ++b) {
    unpack(load_block<typename Traits::Block>(weights, b), block);
    for (int t = 0; t < n_tokens; ++t) {
      const BlockRow row = block_row(first_token + t, x.n_rows, x.n_cols);
      for (int j = 0; j < kBlocks; ++j) {
        const ActivationBlock& activations =
            x.blocks[row.first + offset(b, kBlocks) * row.stride + offset(j, 1) * row.stride];
        sums[t] = add_block<Traits>(block, 2 * j, activations, sums[t]);
      }
    }
  }
}

template <class Traits>
void matmul(const MatmulArgs& args) {
  for (int row = args.row_begin; row < args.row_end; ++row) {
    const std::byte* weights = args.rows + static_cast<std::size_t>(row) * args.row_bytes;
    for (int token = 0; token < args.x.n_rows; token += kTokenTile) {
      const int n_tokens = args.x.n_rows - token < kTokenTile ? args.x.n_rows - token : kTokenTile;
      float sums[kTokenTile] = {};
      if constexpr (Traits::block_weights == 1) {
        dot_floats<Traits>(weights, args.x, token, n_tokens, sums);
      } else {
        dot_quantized<Traits>(weights, args.x, token, n_tokens, sums);
      }
      for (int t = 0; t < n_tokens; ++t)
        args.out[static_cast<std::size_t>(token + t) * args.out_stride + row] = sums[t];
    }
  }
}

/// To nearest, ties to even, for |x| < 2^22: the addition leaves no fraction bits.
float round_to_even(float x) { return x + 0x1.8p23F - 0x1.8p23F; }

/// Two int16, as ActivationBlock says.
std::int32_t correction(int zero, int sum) {
  return static_cast<std::int32_t>((static_cast<unsigned>(-sum) << 16U) | (static_cast<unsigned>(-zero) & 0xFFFFU));
}

ActivationBlock quantize_block(const float* x) {
  float low = 0.0F;
  float high = 0.0F;
  bool finite = true;
  for (int i = 0; i < kActivationBlock; ++i) {
    finite = finite && std::isfinite(x[i]);
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  ActivationBlock out;
  const float scale = high / 254.0F - low / 254.0F;  // the difference of the extremes alone could overflow
  if (!finite || scale < kSmallestScale) {
    const float factor = finite ? 0.0F : std::numeric_limits<float>::quiet_NaN();
    out.scale = out.sum = out.half_sums[0] = out.half_sums[1] = factor;
    return out;
  }
  const float inverse = 1.0F / scale;
  const float zero = round_to_even(-127.0F - low * inverse);  // the quant of zero
  out.zero = static_cast<std::int32_t>(zero);
  int sums[2] = {};
  for (int i = 0; i < kActivationBlock; ++i) {
    out.quants[i] = static_cast<std::int8_t>(std::clamp(round_to_even(x[i] * inverse + zero), -127.0F, 127.0F));
    sums[i / 16] += out.quants[i] - out.zero;
  }
  out.scale = scale;
  out.sum = scale * static_cast<float>(sums[0] + sums[1]);
  out.correction = correction(out.zero, sums[0] + sums[1]);
  for (int half = 0; half < 2; ++half) {
    out.half_sums[half] = scale * static_cast<float>(sums[half]);
    out.half_corrections[half] = correction(out.zero, sums[half]);
  }
  return out;
}

void quantize(const float* x, int n, ActivationBlock* out, std::size_t stride) {
  for (int i = 0; i < n; i += kActivationBlock, out += stride) *out = quantize_block(x + i);
}

void rms_norm(const float* x, const float* weight, int n, float epsilon, float* out) {
  double squares = 0.0;
  for (int i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const auto inverse = static_cast<float>(1.0 / std::sqrt(squares / n + static_cast<double>(epsilon)));
  for (int i = 0; i < n; ++i) out[i] = x[i] * inverse * weight[i];
}

void rope(float* heads, int n_heads, int head_size, int n_pairs, RopeKind kind, const float* cosines,
          const float* sines) {
  const int step = kind == RopeKind::kNormal ? 2 : 1;
  const int distance = kind == RopeKind::kNormal ? 1 : n_pairs;
  for (int head = 0; head < n_heads; ++head) {
    float* values = heads + offset(head, head_size);
    for (int i = 0; i < n_pairs; ++i) {
      float& first = values[i * step];
      float& second = values[i * step + distance];
      const float rotated = first * cosines[i] - second * sines[i];
      second = first * sines[i] + second * cosines[i];
      first = rotated;
    }
  }
}

float silu(float x) { return x / (1.0F + std::exp(-x)); }

void gated_activation(Activation activation, const float* gate, const float* up, int n, float* out) {
  switch (activation) {
    case Activation::kSilu:
      for (int i = 0; i < n; ++i) out[i] = silu(gate[i]) * up[i];
      return;
  }
}

void add(const float* x, int n, float* out) {
  for (int i = 0; i < n; ++i) out[i] += x[i];
}

void store_half(const float* x, int n, std::uint16_t* out) {
  for (int i = 0; i < n; ++i) out[i] = float_to_half(x[i]);
}

float load_half(const std::byte* halves, std::size_t i) {
  std::uint16_t half = 0;
  std::memcpy(&half, halves + 2 * i, sizeof(half));
  return half_to_float(half);
}

void store_half_at(std::byte* halves, std::size_t i, std::uint16_t half) { std::memcpy(halves + 2 * i, &half, 2); }

std::size_t key_index(int i, int position) { return offset(i, kKvPagePositions) + static_cast<std::size_t>(position); }

/// A block of 32 values as quants and a half scale. The scale is rounded first and the quants fit what it became. A NaN
/// or an infinity makes the whole block NaN.
struct KvQuants {
  std::int8_t quants[kKvBlock] = {};
  std::uint16_t scale = 0x7E00;  // NaN
};

KvQuants quantize_kv_block(const float* x) {
  KvQuants block;
  float most = 0.0F;
  for (int i = 0; i < kKvBlock; ++i) {
    if (!std::isfinite(x[i])) return block;
    most = std::max(most, std::abs(x[i]));
  }
  block.scale = float_to_half(most / 127.0F);
  const float scale = half_to_float(block.scale);
  if (scale == 0.0F) return block;
  const float inverse = 1.0F / scale;
  for (int i = 0; i < kKvBlock; ++i) {
    block.quants[i] = static_cast<std::int8_t>(std::clamp(round_to_even(x[i] * inverse), -127.0F, 127.0F));
  }
  return block;
}

void store_kv(const KvStoreArgs& args) {
  if (args.format == KvFormat::kF16) {
    for (int i = 0; i < args.head_size; ++i) {
      store_half_at(args.keys, key_index(i, args.slot), float_to_half(args.key[i]));
      store_half_at(args.values, offset(args.slot, args.head_size) + static_cast<std::size_t>(i),
                    float_to_half(args.value[i]));
    }
    return;
  }
  const int n_blocks = args.head_size / kKvBlock;
  const std::size_t n = offset(args.head_size, kKvPagePositions);
  for (int b = 0; b < n_blocks; ++b) {
    const KvQuants key = quantize_kv_block(args.key + b * kKvBlock);
    const KvQuants value = quantize_kv_block(args.value + b * kKvBlock);
    store_half_at(args.keys + n, key_index(b, args.slot), key.scale);
    store_half_at(args.values + n, offset(args.slot, n_blocks) + static_cast<std::size_t>(b), value.scale);
    for (int i = 0; i < kKvBlock; ++i) {
      args.keys[key_index(b * kKvBlock + i, args.slot)] = static_cast<std::byte>(key.quants[i]);
    }
    std::memcpy(args.values + offset(args.slot, args.head_size) + b * kKvBlock, value.quants, kKvBlock);
  }
}

float key_at(const AttentionArgs& args, int position, int i) {
  const std::byte* keys = args.pages[position / kKvPagePositions] + args.key_offset;
  const int slot = position % kKvPagePositions;
  if (args.format == KvFormat::kF16) return load_half(keys, key_index(i, slot));
  const float scale = load_half(keys + offset(args.head_size, kKvPagePositions), key_index(i / kKvBlock, slot));
  return static_cast<float>(static_cast<std::int8_t>(keys[key_index(i, slot)])) * scale;
}

float value_at(const AttentionArgs& args, int position, int i) {
  const std::byte* values = args.pages[position / kKvPagePositions] + args.value_offset;
  const int slot = position % kKvPagePositions;
  const std::size_t index = offset(slot, args.head_size) + static_cast<std::size_t>(i);
  if (args.format == KvFormat::kF16) return load_half(values, index);
  const std::byte* scales = values + offset(kKvPagePositions, args.head_size);
  return static_cast<float>(static_cast<std::int8_t>(values[index])) * load_half(scales, index / kKvBlock);
}

constexpr float kLog2E = 0x1.715476p+0F;

/// One query head against the chunk's first n positions.
void attend_query(const AttentionArgs& args, const float* query, int n, int index) {
  float* sums = args.state.sums + static_cast<std::size_t>(index) * args.state.stride;
  float* scores = args.scratch;
  float largest = -std::numeric_limits<float>::infinity();
  for (int position = 0; position < n; ++position) {
    float dot = 0.0F;
    for (int i = 0; i < args.head_size; ++i) dot += query[i] * key_at(args, position, i);
    scores[position] = dot * args.scale * kLog2E;
    if (scores[position] > largest) largest = scores[position];
  }
  float total = 0.0F;
  for (int i = 0; i < args.head_size; ++i) sums[i] = 0.0F;
  for (int position = 0; position < n; ++position) {
    const float weight = std::exp2(scores[position] - largest);
    total += weight;
    for (int i = 0; i < args.head_size; ++i) sums[i] += weight * value_at(args, position, i);
  }
  args.state.largest[index] = largest;
  args.state.totals[index] = total;
}

void attend(const AttentionArgs& args) {
  for (int row = 0; row < args.n_rows; ++row) {
    const int n = std::clamp(args.n_positions + row, 0, kAttentionChunk);
    const float* query = args.query + static_cast<std::size_t>(row) * args.query_stride;
    for (int head = 0; head < args.group; ++head) {
      attend_query(args, query + offset(head, args.head_size), n, row * args.group + head);
    }
  }
}

void merge_query(const AttentionState& part, const AttentionState& into, int query, int head_size) {
  const auto index = static_cast<std::size_t>(query);
  if (part.totals[query] == 0.0F) return;
  const bool first = into.totals[query] == 0.0F;
  const float largest = first ? part.largest[query] : std::max(part.largest[query], into.largest[query]);
  const float factor = std::exp2(part.largest[query] - largest);
  const float old_factor = first ? 0.0F : std::exp2(into.largest[query] - largest);
  const auto join = [&](float old, float added) { return first ? added : old * old_factor + added * factor; };
  for (std::size_t i = 0; i < static_cast<std::size_t>(head_size); ++i) {
    float& sum = into.sums[index * into.stride + i];
    sum = join(sum, part.sums[index * part.stride + i]);
  }
  into.totals[query] = join(into.totals[query], part.totals[query]);
  into.largest[query] = largest;
}

void merge_attention(const AttentionState& part, const AttentionState& into, int n_queries, int head_size) {
  for (int query = 0; query < n_queries; ++query) merge_query(part, into, query, head_size);
}

void finish_attention(const AttentionState& state, int n_queries, int head_size, float* out) {
  for (int query = 0; query < n_queries; ++query) {
    const float* sums = state.sums + static_cast<std::size_t>(query) * state.stride;
    const float total = state.totals[query];
    for (int i = 0; i < head_size; ++i)
      out[offset(query, head_size) + static_cast<std::size_t>(i)] = total == 0.0F ? 0.0F : sums[i] / total;
  }
}

template <class... Formats>
consteval KernelTable make_table(FormatList<Formats...> /*formats*/) {
  KernelTable table;
  table.name = "generic";
  table.matmul = {matmul<Formats>...};
  table.quantize = quantize;
  table.rms_norm = rms_norm;
  table.rope = rope;
  table.gated_activation = gated_activation;
  table.add = add;
  table.store_half = store_half;
  table.store_kv = store_kv;
  table.attend = attend;
  table.merge_attention = merge_attention;
  table.finish_attention = finish_attention;
  return table;
}

constexpr KernelTable kTable = make_table(WeightFormats{});

}  // namespace

const KernelTable& generic_kernels() { return kTable; }

}  // namespace inlay::cpu
