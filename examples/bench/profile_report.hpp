// What inlay-bench says about the steps of a forward pass.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <inlay/inlay.hpp>

#include "profile.hpp"

namespace inlay_bench {

/// The steps of one kind, of all layers.
struct StepSum {
  inlay::PassStep step = inlay::PassStep::kEmbed;
  std::int32_t count = 0;
  double time_us = 0;
  std::uint64_t bytes = 0;
};

/// In the order in which the kinds first run.
std::vector<StepSum> sums_of(const inlay::PassProfile& pass);

/// A line and a table: a row for each kind of step, one for all of them, and one for the pass as it is really run.
std::string profile_markdown(const DepthProfile& profile);

/// The same figures and every single step.
nlohmann::ordered_json profile_json(const DepthProfile& profile);

}  // namespace inlay_bench
