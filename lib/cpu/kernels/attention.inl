// One query row against one KV head, page by page with an online softmax.
#pragma once

#include "cpu/isa_code.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/kernels/exp.inl"

namespace inlay::cpu {
namespace {

constexpr int kPositionTile = 4;  // positions whose scores are computed together
constexpr int kValueTile = 4;     // accumulators of the sum of values: heads x registers of the head

/// The scratch memory, one entry a query head.
struct AttentionState {
  float* sums;      // [group, head_size]: values weighted with the exponentials so far
  float* scores;    // [group, kKvPagePositions]: of one page, then their exponentials
  float* largest;   // [group]: of all scores so far
  float* totals;    // [group]: of all exponentials so far
  float* rescales;  // [group]: what the page multiplies the sums so far with
};

INLAY_INLINE AttentionState attention_state(const AttentionArgs& args) {
  AttentionState state;
  state.sums = args.scratch;
  state.scores = state.sums + offset_of(args.group, args.head_size);
  state.largest = state.scores + offset_of(args.group, kKvPagePositions);
  state.totals = state.largest + args.group;
  state.rescales = state.totals + args.group;
  return state;
}

/// scores[h][p] = scale * dot(query[h], keys[p]) for kHeads heads and kPositions positions.
template <class Isa, int kHeads, int kPositions>
INLAY_INLINE void score_tile(const AttentionArgs& args, const float* query, const std::byte* keys, float* scores) {
  using Vec = typename Isa::Vec;
  Vec dots[kHeads][kPositions];
  unroll<kHeads>([&](auto h) INLAY_INLINE_LAMBDA {
    unroll<kPositions>([&](auto p) INLAY_INLINE_LAMBDA { dots[h.value][p.value] = Isa::zero(); });
  });
  const auto add = [&](int i, auto... count) INLAY_INLINE_LAMBDA {
    Vec q[kHeads];
    unroll<kHeads>([&](auto h) INLAY_INLINE_LAMBDA {
      q[h.value] = Isa::load(query + offset_of(h.value, args.head_size) + i, count...);
    });
    unroll<kPositions>([&](auto p) INLAY_INLINE_LAMBDA {
      const Vec key =
          Isa::load_half(keys + 2 * (offset_of(p.value, args.head_size) + static_cast<std::size_t>(i)), count...);
      unroll<kHeads>([&](auto h) INLAY_INLINE_LAMBDA {
        dots[h.value][p.value] = Isa::fma(q[h.value], key, dots[h.value][p.value]);
      });
    });
  };
  int i = 0;
  for (; i + Isa::kLanes <= args.head_size; i += Isa::kLanes) add(i);
  if (i < args.head_size) add(i, args.head_size - i);
  unroll<kHeads>([&](auto h) INLAY_INLINE_LAMBDA {
    float* out = scores + h.value * kKvPagePositions;
    if constexpr (kPositions == kPositionTile) {
      Isa::store_sums(out, dots[h.value], args.scale);
    } else {
      static_assert(kPositions == 1);
      out[0] = Isa::reduce_add(dots[h.value][0]) * args.scale;
    }
  });
}

template <class Isa, int kHeads>
INLAY_INLINE void score_heads(const AttentionArgs& args, const float* query, const std::byte* keys, int n,
                              float* scores) {
  const std::size_t key_bytes = 2 * static_cast<std::size_t>(args.head_size);
  int p = 0;
  for (; p + kPositionTile <= n; p += kPositionTile) {
    score_tile<Isa, kHeads, kPositionTile>(args, query, keys + static_cast<std::size_t>(p) * key_bytes, scores + p);
  }
  for (; p < n; ++p) {
    score_tile<Isa, kHeads, 1>(args, query, keys + static_cast<std::size_t>(p) * key_bytes, scores + p);
  }
}

template <class Isa>
void score_page(const AttentionArgs& args, const std::byte* keys, int n, float* scores) {
  const auto score = [&](auto heads, int head) INLAY_INLINE_LAMBDA {
    score_heads<Isa, decltype(heads)::value>(args, args.query + offset_of(head, args.head_size), keys, n,
                                             scores + offset_of(head, kKvPagePositions));
  };
  int head = 0;
  for (; head + Isa::kHeadTile <= args.group; head += Isa::kHeadTile) score(Index<Isa::kHeadTile>{}, head);
  for (; head < args.group; ++head) score(Index<1>{}, head);
}

/// Turns one head's scores of a page into exponentials relative to the largest score so far.
template <class Isa>
INLAY_INLINE void softmax_page(const AttentionState& state, int head, int n) {
  using Vec = typename Isa::Vec;
  float* scores = state.scores + offset_of(head, kKvPagePositions);
  int padded = n;
  for (; padded % Isa::kLanes != 0; ++padded) scores[padded] = -__builtin_inff();
  Vec most = Isa::set1(state.largest[head]);
  for (int i = 0; i < padded; i += Isa::kLanes) most = Isa::max(most, Isa::load(scores + i));
  const float largest = Isa::reduce_max(most);
  Vec total = Isa::zero();
  for (int i = 0; i < padded; i += Isa::kLanes) {
    const Vec weights = exp<Isa>(Isa::sub(Isa::load(scores + i), Isa::set1(largest)));
    Isa::store(scores + i, weights);
    total = Isa::add(total, weights);
  }
  const Vec rescale = exp<Isa>(Isa::set1(state.largest[head] - largest));
  Isa::store(state.rescales + head, rescale, 1);
  state.totals[head] = state.totals[head] * state.rescales[head] + Isa::reduce_add(total);
  state.largest[head] = largest;
}

/// sums[h][i ...] = sums * rescale + sum over positions of weights[h][p] * values[p][i ...], for kHeads heads and
/// kRegisters registers of each (with `count`: the first `count` lanes of one).
template <class Isa, int kHeads, int kRegisters, class... Count>
INLAY_INLINE void add_values(const AttentionArgs& args, const AttentionState& state, int head, const std::byte* values,
                             int n, int i, Count... count) {
  using Vec = typename Isa::Vec;
  float* sums = state.sums + offset_of(head, args.head_size) + i;
  const float* weights = state.scores + offset_of(head, kKvPagePositions);
  const std::byte* value = values + 2 * static_cast<std::size_t>(i);
  Vec totals[kHeads][kRegisters];
  unroll<kHeads>([&](auto h) INLAY_INLINE_LAMBDA {
    unroll<kRegisters>([&](auto r) INLAY_INLINE_LAMBDA {
      const Vec sum = Isa::load(sums + offset_of(h.value, args.head_size) + r.value * Isa::kLanes, count...);
      totals[h.value][r.value] = Isa::mul(sum, Isa::set1(state.rescales[head + h.value]));
    });
  });
  for (int p = 0; p < n; ++p, value += 2 * static_cast<std::size_t>(args.head_size)) {
    Vec v[kRegisters];
    unroll<kRegisters>(
        [&](auto r) INLAY_INLINE_LAMBDA { v[r.value] = Isa::load_half(value + 2 * r.value * Isa::kLanes, count...); });
    unroll<kHeads>([&](auto h) INLAY_INLINE_LAMBDA {
      const Vec weight = Isa::set1(weights[h.value * kKvPagePositions + p]);
      unroll<kRegisters>([&](auto r) INLAY_INLINE_LAMBDA {
        totals[h.value][r.value] = Isa::fma(weight, v[r.value], totals[h.value][r.value]);
      });
    });
  }
  unroll<kHeads>([&](auto h) INLAY_INLINE_LAMBDA {
    unroll<kRegisters>([&](auto r) INLAY_INLINE_LAMBDA {
      Isa::store(sums + offset_of(h.value, args.head_size) + r.value * Isa::kLanes, totals[h.value][r.value], count...);
    });
  });
}

template <class Isa, int kHeads>
INLAY_INLINE void add_heads_values(const AttentionArgs& args, const AttentionState& state, int head,
                                   const std::byte* values, int n) {
  int i = 0;
  for (; i + kValueTile * Isa::kLanes <= args.head_size; i += kValueTile * Isa::kLanes) {
    add_values<Isa, kHeads, kValueTile>(args, state, head, values, n, i);
  }
  for (; i + Isa::kLanes <= args.head_size; i += Isa::kLanes) {
    add_values<Isa, kHeads, 1>(args, state, head, values, n, i);
  }
  if (i < args.head_size) add_values<Isa, kHeads, 1>(args, state, head, values, n, i, args.head_size - i);
}

template <class Isa>
void add_page_values(const AttentionArgs& args, const AttentionState& state, const std::byte* values, int n) {
  int head = 0;
  for (; head + 2 <= args.group; head += 2) add_heads_values<Isa, 2>(args, state, head, values, n);
  if (head < args.group) add_heads_values<Isa, 1>(args, state, head, values, n);
}

template <class Isa>
void attend(const AttentionArgs& args) {
  const AttentionState state = attention_state(args);
  const int n_sums = args.group * args.head_size;
  for (int i = 0; i < n_sums; ++i) state.sums[i] = 0.0F;
  for (int head = 0; head < args.group; ++head) {
    state.largest[head] = -__builtin_inff();
    state.totals[head] = 0.0F;
  }
  for (int first = 0; first < args.n_positions; first += kKvPagePositions) {
    const int left = args.n_positions - first;
    const int n = left < kKvPagePositions ? left : kKvPagePositions;
    const std::byte* page = args.pages[first / kKvPagePositions];
    score_page<Isa>(args, page + args.key_offset, n, state.scores);
    for (int head = 0; head < args.group; ++head) softmax_page<Isa>(state, head, n);
    add_page_values<Isa>(args, state, page + args.value_offset, n);
  }
  for (int head = 0; head < args.group; ++head) {
    const float inverse = args.n_positions > 0 ? 1.0F / state.totals[head] : 0.0F;
    const float* sums = state.sums + offset_of(head, args.head_size);
    float* out = args.out + offset_of(head, args.head_size);
    for (int i = 0; i < args.head_size; ++i) out[i] = sums[i] * inverse;
  }
}

}  // namespace
}  // namespace inlay::cpu
