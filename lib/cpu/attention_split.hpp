// How a sequence is cut so that threads can share it. The cuts depend on positions alone, never on the number of
// threads or on what else is computed, and parts are joined in their order: so the bits of a result do not depend on
// who computed what.
#pragma once

#include <cstdint>

#include "cpu/attention_args.hpp"

namespace inlay::cpu {

/// Query heads that share a read of keys and values, at least one row of them.
inline constexpr int kTileQueries = 48;

[[nodiscard]] constexpr int attention_tile_rows(int group) { return group >= kTileQueries ? 1 : kTileQueries / group; }

/// Units are what is dealt out. The first kUnitsASize are one chunk long, the next kUnitsASize two chunks, then four
/// ...: a sequence has few of them, and the longest is a small part of it. The last one has no end.
inline constexpr int kUnitsASize = 16;
inline constexpr int kMostUnits = 96;  // begins at 249,856 positions

/// Units of a sequence of `n_positions` if there were no last one.
[[nodiscard]] constexpr int attention_units(int n_positions) {
  int units = 0;
  int left = n_positions;
  for (int size = kAttentionChunk; left > 0 && units < kMostUnits; size *= 2, units += kUnitsASize) {
    if (left <= kUnitsASize * size) return units + (left + size - 1) / size;
    left -= kUnitsASize * size;
  }
  return units;
}

/// Where unit `unit` begins.
[[nodiscard]] constexpr int attention_unit_begin(int unit) {
  const int doublings = unit / kUnitsASize;
  const int before = kUnitsASize * ((1 << doublings) - 1) + (unit % kUnitsASize << doublings);
  return before * kAttentionChunk;
}

/// The work memory of attention, in floats: for each thread a region with the scratch memory of the kernels, three
/// states, and the states of units whose sequence is shared with other threads.
struct AttentionMemory {
  AttentionMemory(int group, int head_size, int batch_rows, int context_length, int n_parts);

  int tile_rows;
  int n_units;  // of the longest sequence, the last one without end
  std::size_t scratch_floats;
  std::size_t state_floats;
  std::size_t part_floats;  // of a thread
};

}  // namespace inlay::cpu
