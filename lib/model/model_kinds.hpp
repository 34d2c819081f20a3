// The few ways in which architectures differ, as enums: an arch_table row names one of each.
#pragma once

#include <cstdint>

namespace inlay {

/// Which values of a head a rotation pairs (Su et al. 2021, RoFormer).
enum class RopeKind : std::int32_t {
  kNormal,  ///< neighbours (2i, 2i + 1), as the paper and llama files have it
  kNeox,    ///< halves (i, i + n_pairs), as GPT-NeoX has it
};

/// Of the feed-forward gate.
enum class Activation : std::int32_t { kSilu };

}  // namespace inlay
