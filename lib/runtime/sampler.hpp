// Chooses a token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <inlay/result.hpp>
#include <inlay/sampling.hpp>
#include <inlay/types.hpp>

#include "base/split_mix.hpp"

namespace inlay {

/// kInvalidArgument that names the option which is out of range.
Result<void> check_sampling(const SamplingOptions& options);

/// SplitMix64: its whole state is one number, which a saved session keeps.
class RandomStream {
 public:
  explicit RandomStream(std::uint64_t state) noexcept : state_(state) {}
  /// In [0, 1), of 53 random bits.
  double uniform() noexcept { return split_mix_uniform(state_ += kSplitMixStep); }
  [[nodiscard]] std::uint64_t state() const noexcept { return state_; }

 private:
  std::uint64_t state_;
};

/// Copyable: a copy continues with the same random stream. Not thread-safe.
class Sampler {
 public:
  /// `options` have passed check_sampling. All memory is taken here.
  Sampler(const SamplingOptions& options, int vocab_size);

  /// `logits` [vocab_size]; `history`: the session's tokens so far, for the penalties. Uses one random number, whatever
  /// the logits, or none if the temperature is 0.
  TokenId sample(std::span<const float> logits, std::span<const TokenId> history);
  /// As if `sample` had been called: a device has chosen the token.
  void skip() noexcept {
    if (options_.temperature > 0.0F) random_.uniform();
  }

  /// Whether the token depends on the history.
  [[nodiscard]] bool penalises() const noexcept {
    return options_.repetition_penalty != 1.0F || options_.frequency_penalty != 0.0F ||
           options_.presence_penalty != 0.0F;
  }

  [[nodiscard]] const SamplingOptions& options() const noexcept { return options_; }
  [[nodiscard]] const RandomStream& random() const noexcept { return random_; }
  /// As if so much of the stream had been used.
  void set_random(RandomStream random) noexcept { random_ = random; }

 private:
  struct Candidate {
    float logit = 0.0F;
    TokenId token = 0;
  };

  void apply_penalties(std::span<const TokenId> history);
  void keep_top_k();
  void keep_top_p();
  void keep_min_p();
  TokenId draw();

  SamplingOptions options_;
  RandomStream random_;
  std::vector<Candidate> candidates_;  // [vocab_size], the first n_candidates_ are alive
  std::vector<double> weights_;        // [vocab_size]
  std::vector<std::int32_t> counts_;   // [vocab_size] occurrences among the recent tokens; zero between calls
  std::size_t n_candidates_ = 0;
};

}  // namespace inlay
