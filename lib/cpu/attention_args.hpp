// What the attention kernels are given, and where they leave their results.
#pragma once

#include <cstddef>
#include <cstdint>

#include <inlay/types.hpp>

#include "model/kv_page.hpp"

namespace inlay::cpu {

/// Positions that one call of a kernel sees at most. The softmax of a chunk needs no correction on the way, and chunks
/// are what threads share a long sequence by.
inline constexpr int kAttentionChunk = 256;
static_assert(kAttentionChunk % kKvPagePositions == 0);

// A page holds, for each layer and KV head, a plane of keys and a plane of values:
//   keys    kF16   half [head_size][64]
//           kQ8_0  int8 [head_size][64], then their scales, half [head_size / 32][64]
//   values  kF16   half [64][head_size]
//           kQ8_0  int8 [64][head_size], then their scales, half [64][head_size / 32]
// Keys are transposed so that the scores of neighbouring positions are the lanes of a register: no horizontal sums.

[[nodiscard]] constexpr std::size_t kv_plane_bytes(KvFormat format, int head_size) {
  const std::size_t n = static_cast<std::size_t>(kKvPagePositions) * static_cast<std::size_t>(head_size);
  return format == KvFormat::kF16 ? 2 * n : n + 2 * (n / kKvBlock);
}

/// Softmax attention over some positions, not yet divided by the sum of the weights. A query that saw no position has a
/// total of 0, and nothing else of it is defined.
struct AttentionState {
  float* sums = nullptr;     // [n_queries, stride]: of the values, each weighted with 2^(score - largest)
  float* largest = nullptr;  // [n_queries]: score, times log2(e)
  float* totals = nullptr;   // [n_queries]: of the weights
  std::size_t stride = 0;    // head_size, rounded up to whole registers
};

/// The queries of `n_rows` neighbouring rows of one sequence, `group` heads of each, against a chunk of the keys and
/// values of the KV head that the heads share (grouped-query attention). The result of one query depends on neither the
/// other rows nor what lies behind the positions that it sees: bitwise the same however rows are grouped.
struct AttentionArgs {
  const float* query = nullptr;  // [n_rows, query_stride], the heads of the group at the start of each row
  std::size_t query_stride = 0;
  int n_rows = 0;
  int group = 0;
  int head_size = 0;
  float scale = 0.0F;  // of the dot product of query and key
  KvFormat format = {};
  const std::byte* const* pages = nullptr;  // page i holds the chunk's positions [64 i, 64 i + 64)
  const std::byte* next_page = nullptr;     // the page behind the chunk, to be fetched early, or null
  std::size_t key_offset = 0;               // bytes from a page's start to this head's plane of keys
  std::size_t value_offset = 0;             // the same for its values
  int n_positions = 0;  // row i sees the first n_positions + i of the chunk, or none if that is below 1
  AttentionState state;
  float* scratch = nullptr;  // [attention_scratch_floats(n_rows * group, head_size)]
};

/// Whose key and value of one position go to slot `slot` (0 to 63) of a page.
struct KvStoreArgs {
  const float* key = nullptr;    // [head_size]
  const float* value = nullptr;  // [head_size]
  int head_size = 0;
  KvFormat format = {};
  std::byte* keys = nullptr;    // the head's plane of keys
  std::byte* values = nullptr;  // the head's plane of values
  int slot = 0;
};

[[nodiscard]] constexpr std::size_t attention_stride(int head_size) {
  return (static_cast<std::size_t>(head_size) + 15) / 16 * 16;
}

[[nodiscard]] constexpr std::size_t attention_scratch_floats(int n_queries, int head_size) {
  const auto queries = static_cast<std::size_t>(n_queries);
  return (queries + kKvPagePositions) * attention_stride(head_size) + queries * kAttentionChunk;
}

/// A multiple of a cache line.
[[nodiscard]] constexpr std::size_t attention_state_floats(int n_queries, int head_size) {
  const auto queries = static_cast<std::size_t>(n_queries);
  return queries * attention_stride(head_size) + (2 * queries + 15) / 16 * 16;
}

/// A state in memory of that size.
[[nodiscard]] constexpr AttentionState attention_state(float* memory, int n_queries, int head_size) {
  const auto queries = static_cast<std::size_t>(n_queries);
  AttentionState state;
  state.stride = attention_stride(head_size);
  state.sums = memory;
  state.largest = memory + queries * state.stride;
  state.totals = state.largest + queries;
  return state;
}

}  // namespace inlay::cpu
