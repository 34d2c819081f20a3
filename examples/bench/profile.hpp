// The steps of a forward pass, one by one.
#pragma once

#include <cstdint>
#include <vector>

#include <inlay/inlay.hpp>

#include "options.hpp"

namespace inlay_bench {

/// The pass over a token behind `depth` others.
struct DepthProfile {
  std::int32_t depth = 0;
  inlay::PassProfile pass;
};

/// At each of options.depths. kUnsupported on the CPU.
inlay::Result<std::vector<DepthProfile>> profile_all(const inlay::Model& model, const Options& options);

}  // namespace inlay_bench
