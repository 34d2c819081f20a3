#include "cpu/attention_split.hpp"

#include <algorithm>

namespace inlay::cpu {

static_assert(attention_unit_begin(0) == 0 && attention_unit_begin(kUnitsASize) == kUnitsASize * kAttentionChunk);
static_assert(attention_unit_begin(kMostUnits - 1) == 249'856);

AttentionMemory::AttentionMemory(int group, int head_size, int batch_rows, int context_length, int n_parts)
    : tile_rows(std::min(attention_tile_rows(group), batch_rows)),
      n_units(std::clamp(attention_units(context_length), 1, kMostUnits)),
      scratch_floats((attention_scratch_floats(tile_rows * group, head_size) + 15) / 16 * 16),
      state_floats(attention_state_floats(tile_rows * group, head_size)) {
  const int n_kept = n_parts > 1 ? n_units + 1 : 0;
  part_floats = scratch_floats + static_cast<std::size_t>(3 + n_kept) * state_floats;
}

}  // namespace inlay::cpu
