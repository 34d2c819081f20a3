// Times prefill and decode of one model.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <inlay/inlay.hpp>

#include "options.hpp"

namespace inlay_bench {

enum class Phase : std::int32_t { kPrefill, kDecode };

/// One combination, measured.
struct Measurement {
  Phase phase = Phase::kPrefill;
  std::int32_t tokens = 0;  // of each sequence
  std::int32_t depth = 0;
  std::int32_t sequences = 1;
  std::int32_t threads = 1;
  std::vector<double> seconds;  // one for each repetition
};

/// Tokens of no meaning; the same ones every time.
std::vector<inlay::TokenId> random_text(std::int32_t length, std::int32_t vocab_size);

/// Hears what is being measured, before each repetition; 0 is the warm-up.
using Listener = std::function<void(const Measurement& measurement, std::int32_t repetition)>;

/// Every combination of options.depths and options.sequences on one model, in the order of the options.
inlay::Result<std::vector<Measurement>> measure_all(const inlay::Model& model, const Options& options,
                                                    const Listener& listener);

}  // namespace inlay_bench
