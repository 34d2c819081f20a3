#include "runtime/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/try.hpp"

namespace inlay {
namespace {

Result<void> check_range(const char* name, float value, float low, float high) {
  if (value >= low && value <= high) return {};  // also refuses NaN
  return Status(StatusCode::kInvalidArgument, std::string("sampling option ") + name + ": " + std::to_string(value) +
                                                  " is not in [" + std::to_string(low) + ", " + std::to_string(high) +
                                                  "]");
}

/// Not-a-number compares false with everything, which no ordering survives: it ranks below all numbers.
float ranked(float logit) { return std::isnan(logit) ? -INFINITY : logit; }

/// The order of candidates: by logit, the lower id first among equals, so that every run and every library agrees.
constexpr auto kBetter = [](const auto& a, const auto& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
};

TokenId highest(std::span<const float> logits) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < logits.size(); ++i) {
    if (ranked(logits[i]) > ranked(logits[best])) best = i;
  }
  return static_cast<TokenId>(best);
}

}  // namespace

Result<void> check_sampling(const SamplingOptions& options) {
  constexpr float kLargest = 1e6F;
  INLAY_TRY(check_range("temperature", options.temperature, 0.0F, kLargest));
  INLAY_TRY(check_range("top_p", options.top_p, 1e-9F, 1.0F));
  INLAY_TRY(check_range("min_p", options.min_p, 0.0F, 1.0F));
  INLAY_TRY(check_range("repetition_penalty", options.repetition_penalty, 1e-6F, kLargest));
  INLAY_TRY(check_range("frequency_penalty", options.frequency_penalty, -kLargest, kLargest));
  INLAY_TRY(check_range("presence_penalty", options.presence_penalty, -kLargest, kLargest));
  if (options.top_k < 0) {
    return Status(StatusCode::kInvalidArgument,
                  "sampling option top_k: " + std::to_string(options.top_k) + " is negative");
  }
  if (options.penalty_window < -1) {
    return Status(StatusCode::kInvalidArgument,
                  "sampling option penalty_window: " + std::to_string(options.penalty_window) + " is less than -1");
  }
  return {};
}

Sampler::Sampler(const SamplingOptions& options, int vocab_size)
    : options_(options),
      random_(options.seed),
      candidates_(static_cast<std::size_t>(vocab_size)),
      weights_(static_cast<std::size_t>(vocab_size)),
      counts_(static_cast<std::size_t>(vocab_size)) {}

TokenId Sampler::sample(std::span<const float> logits, std::span<const TokenId> history) {
  if (options_.temperature == 0.0F && !penalises()) return highest(logits);

  n_candidates_ = logits.size();
  for (std::size_t i = 0; i < n_candidates_; ++i) candidates_[i] = {ranked(logits[i]), static_cast<TokenId>(i)};
  if (penalises()) apply_penalties(history);

  if (options_.temperature == 0.0F) {
    const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(n_candidates_);
    return std::min_element(candidates_.begin(), end, kBetter)->token;
  }
  keep_top_k();
  std::sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(n_candidates_), kBetter);
  keep_top_p();
  keep_min_p();
  return draw();
}

void Sampler::apply_penalties(std::span<const TokenId> history) {
  const std::size_t window = options_.penalty_window < 0
                                 ? history.size()
                                 : std::min(history.size(), static_cast<std::size_t>(options_.penalty_window));
  const std::span<const TokenId> recent = history.last(window);
  for (const TokenId token : recent) ++counts_[static_cast<std::size_t>(token)];
  for (const TokenId token : recent) {
    std::int32_t& count = counts_[static_cast<std::size_t>(token)];
    if (count == 0) continue;  // done at its first occurrence
    float& logit = candidates_[static_cast<std::size_t>(token)].logit;
    logit = logit > 0.0F ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
    logit -= static_cast<float>(count) * options_.frequency_penalty + options_.presence_penalty;
    count = 0;
  }
}

void Sampler::keep_top_k() {
  const auto k = static_cast<std::size_t>(options_.top_k);
  if (k == 0 || k >= n_candidates_) return;
  std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(k - 1),
                   candidates_.begin() + static_cast<std::ptrdiff_t>(n_candidates_), kBetter);
  n_candidates_ = k;
}

void Sampler::keep_top_p() {
  if (options_.top_p >= 1.0F) return;
  double total = 0.0;
  for (std::size_t i = 0; i < n_candidates_; ++i) {
    weights_[i] = std::exp(static_cast<double>(candidates_[i].logit) - candidates_[0].logit);
    total += weights_[i];
  }
  double sum = 0.0;
  for (std::size_t i = 0; i < n_candidates_; ++i) {
    sum += weights_[i];
    if (sum >= static_cast<double>(options_.top_p) * total) {
      n_candidates_ = i + 1;
      return;
    }
  }
}

void Sampler::keep_min_p() {
  if (options_.min_p <= 0.0F) return;
  const float threshold = candidates_[0].logit + std::log(options_.min_p);
  while (n_candidates_ > 1 && candidates_[n_candidates_ - 1].logit < threshold) --n_candidates_;
}

TokenId Sampler::draw() {
  const double uniform = random_.uniform();
  const double temperature = options_.temperature;
  double total = 0.0;
  for (std::size_t i = 0; i < n_candidates_; ++i) {
    weights_[i] = std::exp((static_cast<double>(candidates_[i].logit) - candidates_[0].logit) / temperature);
    total += weights_[i];
  }
  if (!(total > 0.0)) return candidates_[0].token;  // every logit was -inf or NaN
  const double threshold = uniform * total;
  double sum = 0.0;
  for (std::size_t i = 0; i < n_candidates_; ++i) {
    sum += weights_[i];
    if (threshold < sum) return candidates_[i].token;
  }
  return candidates_[n_candidates_ - 1].token;
}

}  // namespace inlay
