// The kernels that work on rows of floats.
#pragma once

#include "cpu/isa_code.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/kernels/exp.inl"

namespace inlay::cpu {
namespace {

/// body(i) for every full register of n floats, body(i, count) for what is left.
template <class Isa, class Body>
INLAY_INLINE void for_each_register(int n, const Body& body) {
  int i = 0;
  for (; i + Isa::kLanes <= n; i += Isa::kLanes) body(i);
  if (i < n) body(i, n - i);
}

template <class Isa>
void rms_norm(const float* x, const float* weight, int n, float epsilon, float* out) {
  using Vec = typename Isa::Vec;
  Vec squares = Isa::zero();
  for_each_register<Isa>(n, [&](int i, auto... count) INLAY_INLINE_LAMBDA {
    const Vec value = Isa::load(x + i, count...);
    squares = Isa::fma(value, value, squares);
  });
  const float mean = Isa::reduce_add(squares) / static_cast<float>(n);
  const Vec inverse = Isa::set1(1.0F / __builtin_sqrtf(mean + epsilon));
  for_each_register<Isa>(n, [&](int i, auto... count) INLAY_INLINE_LAMBDA {
    const Vec scaled = Isa::mul(Isa::load(x + i, count...), inverse);
    Isa::store(out + i, Isa::mul(scaled, Isa::load(weight + i, count...)), count...);
  });
}

/// Pairs (i, i + n_pairs) of one head.
template <class Isa>
INLAY_INLINE void rotate_halves(float* values, int n_pairs, const float* cosines, const float* sines) {
  using Vec = typename Isa::Vec;
  for_each_register<Isa>(n_pairs, [&](int i, auto... count) INLAY_INLINE_LAMBDA {
    const Vec cosine = Isa::load(cosines + i, count...);
    const Vec sine = Isa::load(sines + i, count...);
    const Vec first = Isa::load(values + i, count...);
    const Vec second = Isa::load(values + n_pairs + i, count...);
    Isa::store(values + i, Isa::sub(Isa::mul(first, cosine), Isa::mul(second, sine)), count...);
    Isa::store(values + n_pairs + i, Isa::fma(first, sine, Isa::mul(second, cosine)), count...);
  });
}

/// Pairs (2i, 2i + 1) of one head.
template <class Isa>
INLAY_INLINE void rotate_neighbours(float* values, int n_pairs, const float* cosines, const float* sines) {
  using Vec = typename Isa::Vec;
  constexpr int kPairs = Isa::kLanes / 2;
  const auto rotate = [&](int i, const float* cosine, const float* sine, auto... count) INLAY_INLINE_LAMBDA {
    const Vec pairs = Isa::load(values + 2 * i, count...);
    const Vec crossed = Isa::mul(Isa::swap_neighbours(pairs), Isa::load_twice(sine));
    Isa::store(values + 2 * i, Isa::fma_alternating(pairs, Isa::load_twice(cosine), crossed), count...);
  };
  int i = 0;
  for (; i + kPairs <= n_pairs; i += kPairs) rotate(i, cosines + i, sines + i);
  if (i == n_pairs) return;
  float last_cosines[kPairs] = {};
  float last_sines[kPairs] = {};
  const std::size_t bytes = static_cast<std::size_t>(n_pairs - i) * sizeof(float);
  __builtin_memcpy(last_cosines, cosines + i, bytes);
  __builtin_memcpy(last_sines, sines + i, bytes);
  rotate(i, last_cosines, last_sines, 2 * (n_pairs - i));
}

template <class Isa>
void rope(float* heads, int n_heads, int head_size, int n_pairs, RopeKind kind, const float* cosines,
          const float* sines) {
  for (int head = 0; head < n_heads; ++head) {
    float* values = heads + offset_of(head, head_size);
    if (kind == RopeKind::kNormal) {
      rotate_neighbours<Isa>(values, n_pairs, cosines, sines);
    } else {
      rotate_halves<Isa>(values, n_pairs, cosines, sines);
    }
  }
}

template <class Isa>
INLAY_INLINE typename Isa::Vec silu(typename Isa::Vec x) {
  return Isa::div(x, Isa::add(Isa::set1(1.0F), exp<Isa>(Isa::sub(Isa::zero(), x))));
}

template <class Isa>
void gated_activation(Activation activation, const float* gate, const float* up, int n, float* out) {
  switch (activation) {
    case Activation::kSilu:
      for_each_register<Isa>(n, [&](int i, auto... count) INLAY_INLINE_LAMBDA {
        const auto activated = silu<Isa>(Isa::load(gate + i, count...));
        Isa::store(out + i, Isa::mul(activated, Isa::load(up + i, count...)), count...);
      });
      return;
  }
}

template <class Isa>
void add(const float* x, int n, float* out) {
  for_each_register<Isa>(n, [&](int i, auto... count) INLAY_INLINE_LAMBDA {
    Isa::store(out + i, Isa::add(Isa::load(out + i, count...), Isa::load(x + i, count...)), count...);
  });
}

template <class Isa>
void store_half(const float* x, int n, std::uint16_t* out) {
  for_each_register<Isa>(n, [&](int i, auto... count) INLAY_INLINE_LAMBDA {
    Isa::store_half(out + i, Isa::load(x + i, count...), count...);
  });
}

}  // namespace
}  // namespace inlay::cpu
