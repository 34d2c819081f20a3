// Puts keys and values into KV pages (attention_args.hpp has their layout).
#pragma once

#include "cpu/attention_args.hpp"
#include "cpu/isa_code.hpp"

namespace inlay::cpu {
namespace {

template <class Isa>
INLAY_INLINE void store_half_key(const KvStoreArgs& args) {
  std::byte* column = args.keys + 2 * static_cast<std::size_t>(args.slot);
  const auto store = [&](int i, int n, auto... count) INLAY_INLINE_LAMBDA {
    std::uint16_t halves[Isa::kLanes];
    Isa::store_half(halves, Isa::load(args.key + i, count...));
    for (int k = 0; k < n; ++k) __builtin_memcpy(column + 2 * offset_of(i + k, kKvPagePositions), halves + k, 2);
  };
  int i = 0;
  for (; i + Isa::kLanes <= args.head_size; i += Isa::kLanes) store(i, Isa::kLanes);
  if (i < args.head_size) store(i, args.head_size - i, args.head_size - i);
}

template <class Isa>
INLAY_INLINE void store_half_value(const KvStoreArgs& args) {
  std::byte* row = args.values + 2 * offset_of(args.slot, args.head_size);
  int i = 0;
  for (; i + Isa::kLanes <= args.head_size; i += Isa::kLanes) {
    Isa::store_half(reinterpret_cast<std::uint16_t*>(row) + i, Isa::load(args.value + i));
  }
  if (i < args.head_size) {
    const int left = args.head_size - i;
    Isa::store_half(reinterpret_cast<std::uint16_t*>(row) + i, Isa::load(args.value + i, left), left);
  }
}

/// A block of 32 values as quants and a half scale, which is returned. The scale is rounded first and the quants fit
/// what it became. A NaN or an infinity makes the whole block NaN.
template <class Isa>
INLAY_INLINE std::uint16_t quantize_kv_block(const float* x, std::int8_t* quants) {
  using Vec = typename Isa::Vec;
  constexpr int kRegisters = kKvBlock / Isa::kLanes;
  Vec values[kRegisters];
  Vec most = Isa::zero();
  Vec zeros = Isa::zero();
  unroll<kRegisters>([&](auto r) INLAY_INLINE_LAMBDA {
    values[r.value] = Isa::load(x + r.value * Isa::kLanes);
    most = Isa::max(most, Isa::max(values[r.value], Isa::sub(Isa::zero(), values[r.value])));
    zeros = Isa::fma(values[r.value], Isa::zero(), zeros);
  });
  const bool finite = Isa::reduce_add(zeros) == 0.0F;
  std::uint16_t half = 0x7E00;  // NaN
  if (finite) Isa::store_half(&half, Isa::set1(Isa::reduce_max(most) / 127.0F), 1);
  float scale[Isa::kLanes];
  Isa::store(scale, Isa::load_half(reinterpret_cast<const std::byte*>(&half), 1));
  const bool zero = !finite || scale[0] == 0.0F;
  const Vec inverse = Isa::set1(1.0F / scale[0]);
  unroll<kRegisters>([&](auto r) INLAY_INLINE_LAMBDA {
    const Vec quant = Isa::round(Isa::mul(values[r.value], inverse));
    const Vec limited = Isa::max(Isa::set1(-127.0F), Isa::min(Isa::set1(127.0F), quant));
    Isa::store_int8(quants + r.value * Isa::kLanes, zero ? Isa::zero() : limited);
  });
  return half;
}

template <class Isa>
INLAY_INLINE void store_quantized(const KvStoreArgs& args) {
  std::byte* key_scales = args.keys + offset_of(args.head_size, kKvPagePositions);
  std::byte* value_scales = args.values + offset_of(kKvPagePositions, args.head_size);
  const int n_blocks = args.head_size / kKvBlock;
  for (int block = 0; block < n_blocks; ++block) {
    const int first = block * kKvBlock;
    std::int8_t quants[kKvBlock];
    std::uint16_t scale = quantize_kv_block<Isa>(args.key + first, quants);
    __builtin_memcpy(key_scales + 2 * (offset_of(block, kKvPagePositions) + static_cast<std::size_t>(args.slot)),
                     &scale, 2);
    for (int k = 0; k < kKvBlock; ++k) {
      args.keys[offset_of(first + k, kKvPagePositions) + static_cast<std::size_t>(args.slot)] =
          static_cast<std::byte>(quants[k]);
    }
    scale = quantize_kv_block<Isa>(args.value + first, quants);
    __builtin_memcpy(value_scales + 2 * (offset_of(args.slot, n_blocks) + static_cast<std::size_t>(block)), &scale, 2);
    __builtin_memcpy(args.values + offset_of(args.slot, args.head_size) + first, quants, kKvBlock);
  }
}

template <class Isa>
void store_kv(const KvStoreArgs& args) {
  if (args.format == KvFormat::kQ8_0) return store_quantized<Isa>(args);
  store_half_key<Isa>(args);
  store_half_value<Isa>(args);
}

}  // namespace
}  // namespace inlay::cpu
