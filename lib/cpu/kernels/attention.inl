// Queries against a chunk of keys and values: scores, their exponentials, the weighted sum of the values.
#pragma once

#include "cpu/attention_args.hpp"
#include "cpu/isa_code.hpp"
#include "cpu/kernels/exp.inl"

namespace inlay::cpu {
namespace {

constexpr int kQueryTile = 6;  // queries that share a row of keys or values in registers
/// So few queries read keys and values where they are: one tile, which widens every value once. More share floats that
/// are made from a page first.
template <class Isa>
constexpr int kDirectQueries = Isa::kSumRegisters / 2 < 8 ? Isa::kSumRegisters / 2 : 8;
constexpr float kLog2E = 0x1.715476p+0F;

INLAY_INLINE int clamped(int x, int high) { return x < 0 ? 0 : (x < high ? x : high); }

template <int kBytes>
INLAY_INLINE void prefetch_bytes(const std::byte* start) {
  unroll<(kBytes + 63) / 64>([&](auto line) INLAY_INLINE_LAMBDA { __builtin_prefetch(start + 64 * line.value); });
}

/// Rows of floats in the scratch memory.
template <class Isa>
struct FloatRows {
  static constexpr int kMostQueries = kQueryTile;
  const float* data;
  std::size_t stride;

  INLAY_INLINE typename Isa::Vec load(int row, int column) const {
    return Isa::load(data + static_cast<std::size_t>(row) * stride + column);
  }
  template <int kRegisters>
  INLAY_INLINE void prefetch(int /*row*/, int /*column*/) const {}
};

/// Rows of halves in a page. The rows at `next`, which are read after these, are fetched on the way: pages are apart,
/// so that the hardware does not see them come.
template <class Isa>
struct HalfRows {
  static constexpr int kMostQueries = kDirectQueries<Isa>;
  const std::byte* data;
  const std::byte* next;
  std::size_t stride;

  INLAY_INLINE typename Isa::Vec load(int row, int column) const {
    return Isa::load_half(data + 2 * (static_cast<std::size_t>(row) * stride + static_cast<std::size_t>(column)));
  }
  template <int kRegisters>
  INLAY_INLINE void prefetch(int row, int column) const {
    prefetch_bytes<kRegisters * Isa::kLanes * 2>(
        next + 2 * (static_cast<std::size_t>(row) * stride + static_cast<std::size_t>(column)));
  }
};

/// Rows of 8-bit keys in a page: a scale for each position of 32 rows.
template <class Isa>
struct QuantKeys {
  static constexpr int kMostQueries = kDirectQueries<Isa>;
  const std::byte* data;
  const std::byte* next;
  const float* scales;  // [head_size / 32, 64]

  INLAY_INLINE typename Isa::Vec load(int row, int column) const {
    const auto scale = Isa::load(scales + offset_of(row / kKvBlock, kKvPagePositions) + column);
    return Isa::mul(Isa::load_int8(data + offset_of(row, kKvPagePositions) + column), scale);
  }
  template <int kRegisters>
  INLAY_INLINE void prefetch(int row, int column) const {
    prefetch_bytes<kRegisters * Isa::kLanes>(next + offset_of(row, kKvPagePositions) + column);
  }
};

/// Rows of 8-bit values in a page: a scale for 32 values of a row.
template <class Isa>
struct QuantValues {
  static constexpr int kMostQueries = kDirectQueries<Isa>;
  const std::byte* data;
  const std::byte* next;
  const float* scales;  // [64, head_size / 32]
  int head_size;

  INLAY_INLINE typename Isa::Vec load(int row, int column) const {
    const std::size_t first = offset_of(row, head_size) + static_cast<std::size_t>(column);
    return Isa::mul(Isa::load_int8(data + first), Isa::set1(scales[first / kKvBlock]));
  }
  template <int kRegisters>
  INLAY_INLINE void prefetch(int row, int column) const {
    prefetch_bytes<kRegisters * Isa::kLanes>(next + offset_of(row, head_size) + column);
  }
};

enum class Start { kZero, kSums };

/// What rows are multiplied with and where the sums go; both advance by a stride from query to query.
struct Product {
  const float* factors;  // [n_queries, factor_stride]
  std::size_t factor_stride;
  float* sums;  // [n_queries, sum_stride]
  std::size_t sum_stride;

  [[nodiscard]] INLAY_INLINE Product from(int query) const {
    const auto i = static_cast<std::size_t>(query);
    return {factors + i * factor_stride, factor_stride, sums + i * sum_stride, sum_stride};
  }
};

/// sums[q] (+)= the sum over begin <= k < end of factors[q][k] * rows[k], kRegisters registers from `column` on. Every
/// lane is one chain of multiply-adds in the order of k: the same bits in whichever tile, and wherever it is cut.
template <class Isa, int kQueries, int kRegisters, Start kStart, class Rows>
INLAY_INLINE void multiply_tile(const Product& product, const Rows& rows, int begin, int end, int column) {
  using Vec = typename Isa::Vec;
  Vec sums[kQueries][kRegisters];
  float* out = product.sums + column;
  unroll<kQueries>([&](auto q) INLAY_INLINE_LAMBDA {
    unroll<kRegisters>([&](auto r) INLAY_INLINE_LAMBDA {
      if constexpr (kStart == Start::kZero) {
        sums[q.value][r.value] = Isa::zero();
      } else {
        sums[q.value][r.value] = Isa::load(out + q.value * product.sum_stride + r.value * Isa::kLanes);
      }
    });
  });
  for (int k = begin; k < end; ++k) {
    rows.template prefetch<kRegisters>(k, column);
    Vec row[kRegisters];
    unroll<kRegisters>([&](auto r)
                           INLAY_INLINE_LAMBDA { row[r.value] = rows.load(k, column + r.value * Isa::kLanes); });
    unroll<kQueries>([&](auto q) INLAY_INLINE_LAMBDA {
      const Vec factor = Isa::set1(product.factors[q.value * product.factor_stride + static_cast<std::size_t>(k)]);
      unroll<kRegisters>([&](auto r) INLAY_INLINE_LAMBDA {
        sums[q.value][r.value] = Isa::fma(factor, row[r.value], sums[q.value][r.value]);
      });
    });
  }
  unroll<kQueries>([&](auto q) INLAY_INLINE_LAMBDA {
    unroll<kRegisters>([&](auto r) INLAY_INLINE_LAMBDA {
      Isa::store(out + q.value * product.sum_stride + r.value * Isa::kLanes, sums[q.value][r.value]);
    });
  });
}

/// The same for all `n_registers` registers of a row.
template <class Isa, int kQueries, Start kStart, class Rows>
void multiply_rows(const Product& product, const Rows& rows, int begin, int end, int n_registers) {
  constexpr int kWide = 4 * kQueries <= Isa::kSumRegisters ? 4 : 2;
  int r = 0;
  for (; r + kWide <= n_registers; r += kWide) {
    multiply_tile<Isa, kQueries, kWide, kStart>(product, rows, begin, end, r * Isa::kLanes);
  }
  if constexpr (kWide > 2) {
    if (r + 2 <= n_registers) {
      multiply_tile<Isa, kQueries, 2, kStart>(product, rows, begin, end, r * Isa::kLanes);
      r += 2;
    }
  }
  if (r < n_registers) multiply_tile<Isa, kQueries, 1, kStart>(product, rows, begin, end, r * Isa::kLanes);
}

template <class Isa, Start kStart, int kMost, class Rows>
INLAY_INLINE void multiply_queries(const Product& product, int n_queries, const Rows& rows, int begin, int end,
                                   int n_registers) {
  if (kMost == 1 || n_queries == kMost) {
    multiply_rows<Isa, kMost, kStart>(product, rows, begin, end, n_registers);
  } else if constexpr (kMost > 1) {
    multiply_queries<Isa, kStart, kMost - 1>(product, n_queries, rows, begin, end, n_registers);
  }
}

template <class Isa, Start kStart, class Rows>
INLAY_INLINE void multiply(const Product& product, int n_queries, const Rows& rows, int begin, int end,
                           int n_registers) {
  multiply_queries<Isa, kStart, Rows::kMostQueries>(product, n_queries, rows, begin, end, n_registers);
}

/// A call's arguments, and how its scratch memory is used.
template <class Isa>
struct Attention {
  static constexpr int kPageRegisters = kKvPagePositions / Isa::kLanes;

  const AttentionArgs& args;
  int n_queries;
  int head_registers;
  std::size_t stride;
  float* queries;  // [n_queries, stride], scaled
  float* scores;   // [n_queries, kAttentionChunk], then their exponentials
  float* floats;   // keys [head_size, kKvPagePositions] or values [kKvPagePositions, stride] of a page
  bool direct;

  explicit INLAY_INLINE Attention(const AttentionArgs& arguments)
      : args(arguments),
        n_queries(args.n_rows * args.group),
        head_registers((args.head_size + Isa::kLanes - 1) / Isa::kLanes),
        stride(args.state.stride),
        queries(args.scratch),
        scores(queries + static_cast<std::size_t>(n_queries) * stride),
        floats(scores + offset_of(n_queries, kAttentionChunk)),
        direct(n_queries <= kDirectQueries<Isa> && args.head_size % Isa::kLanes == 0) {}

  /// Positions of the page that the query sees, if pages behind `page` count as part of it: query's row alone decides.
  [[nodiscard]] INLAY_INLINE int visible(int query, int page) const {
    return clamped(args.n_positions + query / args.group - page * kKvPagePositions, kKvPagePositions);
  }
  [[nodiscard]] INLAY_INLINE int visible(int query) const {
    return clamped(args.n_positions + query / args.group, kAttentionChunk);
  }
  [[nodiscard]] INLAY_INLINE const std::byte* keys(int page) const { return args.pages[page] + args.key_offset; }
  [[nodiscard]] INLAY_INLINE const std::byte* values(int page) const { return args.pages[page] + args.value_offset; }

  /// body(first, count): all queries in tiles of about the same size, at most `most`.
  template <class Body>
  INLAY_INLINE void for_tiles(int most, const Body& body) const {
    const int n_tiles = (n_queries + most - 1) / most;
    for (int tile = 0; tile < n_tiles; ++tile) {
      const int first = n_queries * tile / n_tiles;
      body(first, n_queries * (tile + 1) / n_tiles - first);
    }
  }
};

template <class Isa>
INLAY_INLINE void scale_queries(const Attention<Isa>& attention) {
  const AttentionArgs& args = attention.args;
  const auto scale = Isa::set1(args.scale * kLog2E);
  for (int query = 0; query < attention.n_queries; ++query) {
    const float* in = args.query + static_cast<std::size_t>(query / args.group) * args.query_stride +
                      offset_of(query % args.group, args.head_size);
    float* out = attention.queries + static_cast<std::size_t>(query) * attention.stride;
    int i = 0;
    for (; i + Isa::kLanes <= args.head_size; i += Isa::kLanes) {
      Isa::store(out + i, Isa::mul(Isa::load(in + i), scale));
    }
    if (i < args.head_size) Isa::store(out + i, Isa::mul(Isa::load(in + i, args.head_size - i), scale));
  }
}

/// Keys of a page as floats, [head_size, kKvPagePositions].
template <class Isa>
void widen_keys(const Attention<Isa>& attention, int page) {
  constexpr int kRegisters = Attention<Isa>::kPageRegisters;
  const std::byte* keys = attention.keys(page);
  float* out = attention.floats;
  const int head_size = attention.args.head_size;
  if (attention.args.format == KvFormat::kF16) {
    const int n = head_size * kKvPagePositions;
    for (int i = 0; i < n; i += Isa::kLanes)
      Isa::store(out + i, Isa::load_half(keys + 2 * static_cast<std::size_t>(i)));
    return;
  }
  const std::byte* scales = keys + offset_of(head_size, kKvPagePositions);
  for (int row = 0; row < head_size; row += kKvBlock, scales += 2 * kKvPagePositions) {
    typename Isa::Vec scale[kRegisters];
    unroll<kRegisters>(
        [&](auto r) INLAY_INLINE_LAMBDA { scale[r.value] = Isa::load_half(scales + 2 * r.value * Isa::kLanes); });
    for (int i = 0; i < kKvBlock; ++i, keys += kKvPagePositions, out += kKvPagePositions) {
      unroll<kRegisters>([&](auto r) INLAY_INLINE_LAMBDA {
        constexpr int kLane = decltype(r)::value * Isa::kLanes;
        Isa::store(out + kLane, Isa::mul(Isa::load_int8(keys + kLane), scale[r.value]));
      });
    }
  }
}

template <class Isa>
INLAY_INLINE void widen_row(const std::byte* halves, int n, float* out) {
  int i = 0;
  for (; i + Isa::kLanes <= n; i += Isa::kLanes) {
    Isa::store(out + i, Isa::load_half(halves + 2 * static_cast<std::size_t>(i)));
  }
  if (i < n) Isa::store(out + i, Isa::load_half(halves + 2 * static_cast<std::size_t>(i), n - i));
}

/// The first n values of a page as floats, [n, stride].
template <class Isa>
void widen_values(const Attention<Isa>& attention, int page, int n) {
  const std::byte* values = attention.values(page);
  const int head_size = attention.args.head_size;
  const std::byte* scales = values + offset_of(kKvPagePositions, head_size);
  for (int position = 0; position < n; ++position) {
    float* out = attention.floats + static_cast<std::size_t>(position) * attention.stride;
    if (attention.args.format == KvFormat::kF16) {
      widen_row<Isa>(values + 2 * offset_of(position, head_size), head_size, out);
      continue;
    }
    const std::byte* row = values + offset_of(position, head_size);
    for (int first = 0; first < head_size; first += kKvBlock, scales += 2) {
      const auto scale = Isa::set1_half(scales);
      unroll<kKvBlock / Isa::kLanes>([&](auto r) INLAY_INLINE_LAMBDA {
        const int i = first + r.value * Isa::kLanes;
        Isa::store(out + i, Isa::mul(Isa::load_int8(row + i), scale));
      });
    }
  }
}

/// The scales of a plane as floats; those of the plane at `next` are fetched.
template <class Isa>
INLAY_INLINE void widen_scales(const Attention<Isa>& attention, const std::byte* plane, const std::byte* next) {
  const int n_quants = attention.args.head_size * kKvPagePositions;
  const std::byte* scales = plane + n_quants;
  for (int i = 0; i < n_quants / kKvBlock; i += Isa::kLanes) {
    Isa::store(attention.floats + i, Isa::load_half(scales + 2 * static_cast<std::size_t>(i)));
    if (i % 32 == 0) __builtin_prefetch(next + n_quants + 2 * static_cast<std::size_t>(i));
  }
}

/// Scores of all queries against all positions of a page, seen or not: lanes do not mix.
template <class Isa>
INLAY_INLINE void score_page(const Attention<Isa>& attention, int page, const std::byte* next) {
  const int head_size = attention.args.head_size;
  const int seen = attention.visible(attention.n_queries - 1, page);
  const int n_registers = (seen + 2 * Isa::kLanes - 1) / (2 * Isa::kLanes) * 2;  // in pairs: wide tiles are faster
  const Product all = {attention.queries, attention.stride, attention.scores + page * kKvPagePositions,
                       kAttentionChunk};
  const auto multiply_all = [&](const auto& rows) INLAY_INLINE_LAMBDA {
    attention.for_tiles(rows.kMostQueries, [&](int first, int count) INLAY_INLINE_LAMBDA {
      if (attention.visible(first + count - 1, page) == 0) return;
      multiply<Isa, Start::kZero>(all.from(first), count, rows, 0, head_size, n_registers);
    });
  };
  if (!attention.direct) {
    widen_keys(attention, page);
    multiply_all(FloatRows<Isa>{attention.floats, kKvPagePositions});
  } else if (attention.args.format == KvFormat::kF16) {
    multiply_all(HalfRows<Isa>{attention.keys(page), next, kKvPagePositions});
  } else {
    widen_scales(attention, attention.keys(page), next);
    multiply_all(QuantKeys<Isa>{attention.keys(page), next, attention.floats});
  }
}

/// Turns a query's n scores into weights, 2^(score - largest).
template <class Isa>
INLAY_INLINE void weigh(const Attention<Isa>& attention, int query) {
  using Vec = typename Isa::Vec;
  float* scores = attention.scores + offset_of(query, kAttentionChunk);
  const int n = attention.visible(query);
  int padded = n;
  for (; padded % Isa::kLanes != 0; ++padded) scores[padded] = -__builtin_inff();
  Vec most[2] = {Isa::set1(-__builtin_inff()), Isa::set1(-__builtin_inff())};
  Vec totals[2] = {Isa::zero(), Isa::zero()};
  int i = 0;
  for (; i + 2 * Isa::kLanes <= padded; i += 2 * Isa::kLanes) {
    unroll<2>([&](auto k) INLAY_INLINE_LAMBDA {
      most[k.value] = Isa::max(most[k.value], Isa::load(scores + i + k.value * Isa::kLanes));
    });
  }
  if (i < padded) most[0] = Isa::max(most[0], Isa::load(scores + i));
  const float largest = Isa::reduce_max(Isa::max(most[0], most[1]));
  const Vec reference = Isa::set1(largest);
  const auto weigh_register = [&](int first, Vec& total) INLAY_INLINE_LAMBDA {
    const Vec weights = exp2_of_negative<Isa>(Isa::sub(Isa::load(scores + first), reference));
    Isa::store(scores + first, weights);
    total = Isa::add(total, weights);
  };
  for (i = 0; i + 2 * Isa::kLanes <= padded; i += 2 * Isa::kLanes) {
    unroll<2>([&](auto k) INLAY_INLINE_LAMBDA { weigh_register(i + k.value * Isa::kLanes, totals[k.value]); });
  }
  if (i < padded) weigh_register(i, totals[0]);
  attention.args.state.largest[query] = largest;
  attention.args.state.totals[query] = n > 0 ? Isa::reduce_add(Isa::add(totals[0], totals[1])) : 0.0F;
}

/// Adds the weighted values of a page. What a query does not see is not even multiplied with zero: it may be a NaN.
template <class Isa>
INLAY_INLINE void add_page_values(const Attention<Isa>& attention, int page, const std::byte* next) {
  const AttentionState& state = attention.args.state;
  const Product all = {attention.scores + page * kKvPagePositions, kAttentionChunk, state.sums, state.stride};
  const int n_registers = attention.head_registers;
  const auto multiply_all = [&](const auto& rows) INLAY_INLINE_LAMBDA {
    attention.for_tiles(rows.kMostQueries, [&](int first, int count) INLAY_INLINE_LAMBDA {
      const int common = attention.visible(first, page);
      if (common > 0) multiply<Isa, Start::kSums>(all.from(first), count, rows, 0, common, n_registers);
      for (int query = first + 1; query < first + count; ++query) {
        const int own = attention.visible(query, page);
        if (own > common) multiply_rows<Isa, 1, Start::kSums>(all.from(query), rows, common, own, n_registers);
      }
    });
  };
  if (!attention.direct) {
    widen_values(attention, page, attention.visible(attention.n_queries - 1, page));
    multiply_all(FloatRows<Isa>{attention.floats, attention.stride});
  } else if (attention.args.format == KvFormat::kF16) {
    multiply_all(HalfRows<Isa>{attention.values(page), next, static_cast<std::size_t>(attention.args.head_size)});
  } else {
    widen_scales(attention, attention.values(page), next);
    multiply_all(QuantValues<Isa>{attention.values(page), next, attention.floats, attention.args.head_size});
  }
}

template <class Isa>
void attend(const AttentionArgs& args) {
  const Attention<Isa> attention(args);
  const int last = attention.n_queries - 1;
  const int n_pages = (attention.visible(last) + kKvPagePositions - 1) / kKvPagePositions;
  scale_queries(attention);
  for (int page = 0; page < n_pages; ++page) {
    score_page(attention, page, page + 1 < n_pages ? attention.keys(page + 1) : attention.values(0));
  }
  for (int query = 0; query <= last; ++query) weigh(attention, query);
  for (int query = 0; query <= last; ++query) {
    float* sums = args.state.sums + static_cast<std::size_t>(query) * args.state.stride;
    for (int r = 0; r < attention.head_registers; ++r) Isa::store(sums + r * Isa::kLanes, Isa::zero());
  }
  const std::byte* behind = args.next_page != nullptr ? args.next_page + args.key_offset : attention.values(0);
  for (int page = 0; page < n_pages; ++page) {
    add_page_values(attention, page, page + 1 < n_pages ? attention.values(page + 1) : behind);
  }
}

/// Adds what one query has seen elsewhere to what it has seen so far.
template <class Isa>
INLAY_INLINE void merge_query(const AttentionState& part, const AttentionState& into, int query, int head_size) {
  using Vec = typename Isa::Vec;
  if (part.totals[query] == 0.0F) return;
  const std::size_t first = static_cast<std::size_t>(query) * into.stride;
  const float* from = part.sums + static_cast<std::size_t>(query) * part.stride;
  if (into.totals[query] == 0.0F) {
    for (int i = 0; i < head_size; i += Isa::kLanes) Isa::store(into.sums + first + i, Isa::load(from + i));
    into.largest[query] = part.largest[query];
    into.totals[query] = part.totals[query];
    return;
  }
  const float largest = Isa::reduce_max(Isa::max(Isa::set1(part.largest[query]), Isa::set1(into.largest[query])));
  const Vec old_factor = exp2_of_negative<Isa>(Isa::set1(into.largest[query] - largest));
  const Vec new_factor = exp2_of_negative<Isa>(Isa::set1(part.largest[query] - largest));
  for (int i = 0; i < head_size; i += Isa::kLanes) {
    const Vec old = Isa::mul(Isa::load(into.sums + first + i), old_factor);
    Isa::store(into.sums + first + i, Isa::fma(Isa::load(from + i), new_factor, old));
  }
  const Vec old = Isa::mul(Isa::set1(into.totals[query]), old_factor);
  Isa::store(into.totals + query, Isa::fma(Isa::set1(part.totals[query]), new_factor, old), 1);
  into.largest[query] = largest;
}

template <class Isa>
void merge_attention(const AttentionState& part, const AttentionState& into, int n_queries, int head_size) {
  for (int query = 0; query < n_queries; ++query) merge_query<Isa>(part, into, query, head_size);
}

template <class Isa>
void finish_attention(const AttentionState& state, int n_queries, int head_size, float* out) {
  for (int query = 0; query < n_queries; ++query) {
    const float* sums = state.sums + static_cast<std::size_t>(query) * state.stride;
    float* row = out + offset_of(query, head_size);
    const bool empty = state.totals[query] == 0.0F;
    const auto inverse = Isa::set1(1.0F / state.totals[query]);
    int i = 0;
    for (; i + Isa::kLanes <= head_size; i += Isa::kLanes) {
      Isa::store(row + i, empty ? Isa::zero() : Isa::mul(Isa::load(sums + i), inverse));
    }
    if (i < head_size) {
      Isa::store(row + i, empty ? Isa::zero() : Isa::mul(Isa::load(sums + i), inverse), head_size - i);
    }
  }
}

}  // namespace
}  // namespace inlay::cpu
