// How the next token is chosen from the logits.
#pragma once

#include <cstdint>

namespace inlay {

/// Filters apply in this order: penalties, top-k, top-p, min-p, temperature, draw. The defaults are greedy.
/// The same options, seed and logits give the same token.
struct SamplingOptions {
  float temperature =
      0.0F;                ///< 0: greedy (the highest logit; the lowest id among equals); else logits are divided by it
  std::int32_t top_k = 0;  ///< keep the k most likely tokens; 0: all
  float top_p = 1.0F;      ///< keep the smallest set whose probability reaches p, in (0, 1]
  float min_p = 0.0F;      ///< drop tokens less likely than min_p times the most likely one, in [0, 1]
  float repetition_penalty =
      1.0F;  ///< > 0; divides positive and multiplies negative logits of recent tokens (Keskar et al. 2019)
  float frequency_penalty = 0.0F;    ///< subtracted once per occurrence among the recent tokens
  float presence_penalty = 0.0F;     ///< subtracted once if the token is among the recent tokens
  std::int32_t penalty_window = 64;  ///< how many recent tokens the penalties look at; -1: all of the session
  std::uint64_t seed = 0;            ///< of the random stream; every value, 0 too, is a fixed stream
};

}  // namespace inlay
