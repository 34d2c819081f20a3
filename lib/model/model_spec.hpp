// What a model is, as numbers: an architecture's row plus what its file says, validated.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <inlay/result.hpp>

#include "gguf/gguf.hpp"

namespace inlay {

enum class RopeKind : std::int32_t {
  kNormal,  // rotates neighbours (2i, 2i + 1)
  kNeox,    // rotates halves (i, i + n_pairs)
};

enum class Activation : std::int32_t { kSilu };

}  // namespace inlay
