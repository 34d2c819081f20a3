#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "runtime/sampler.hpp"

namespace {

using inlay::Sampler;
using inlay::SamplingOptions;
using inlay::TokenId;

const std::vector<float> kLogits = {1.0F, 3.0F, 2.0F, 3.0F, -1.0F};

std::vector<int> count_draws(const SamplingOptions& options, const std::vector<float>& logits, int n) {
  Sampler sampler(options, static_cast<int>(logits.size()));
  std::vector<int> counts(logits.size());
  for (int i = 0; i < n; ++i) ++counts[static_cast<std::size_t>(sampler.sample(logits, {}))];
  return counts;
}

TEST_CASE("greedy takes the highest logit and the lowest id among equals") {
  Sampler sampler({}, 5);
  CHECK(sampler.sample(kLogits, {}) == 1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(sampler.sample(std::vector<float>{nan, -2.0F, nan, -1.0F, nan}, {}) == 3);
  CHECK(sampler.sample(std::vector<float>{nan, nan, nan, nan, nan}, {}) == 0);
}

TEST_CASE("draws follow the softmax of the logits over the temperature") {
  constexpr int kDraws = 200000;
  for (const float temperature : {0.5F, 1.0F, 2.0F}) {
    const std::vector<int> counts = count_draws({.temperature = temperature, .seed = 11}, kLogits, kDraws);
    double total = 0.0;
    for (const float logit : kLogits) total += std::exp(logit / temperature);
    double chi_square = 0.0;
    for (std::size_t i = 0; i < kLogits.size(); ++i) {
      const double expected = kDraws * std::exp(kLogits[i] / temperature) / total;
      chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    CHECK(chi_square < 23.5);  // 4 degrees of freedom: exceeded once in 10,000 by chance
    MESSAGE("temperature " << temperature << ": chi square " << chi_square << " over " << kDraws << " draws");
  }
}

TEST_CASE("filters drop what they should and nothing else") {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.25F), std::log(0.15F), std::log(0.1F)};
  const auto kept = [&](SamplingOptions options) {
    options.temperature = 1.0F;
    std::string tokens;
    const std::vector<int> counts = count_draws(options, logits, 4000);
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] > 0) tokens += std::to_string(i);
    }
    return tokens;
  };
  CHECK(kept({}) == "0123");
  CHECK(kept({.top_k = 1}) == "0");
  CHECK(kept({.top_k = 3}) == "012");
  CHECK(kept({.top_k = 100}) == "0123");
  CHECK(kept({.top_p = 0.49F}) == "0");
  CHECK(kept({.top_p = 0.6F}) == "01");
  CHECK(kept({.top_p = 0.76F}) == "012");
  CHECK(kept({.min_p = 0.4F}) == "01");
  CHECK(kept({.min_p = 0.25F}) == "012");
  CHECK(kept({.min_p = 1.0F}) == "0");
  CHECK(kept({.top_k = 2, .min_p = 0.1F}) == "01");
}

TEST_CASE("penalties change the logits of recent tokens only") {
  const std::vector<TokenId> history = {1, 1, 3};
  const auto greedy = [&](SamplingOptions options) { return Sampler(options, 5).sample(kLogits, history); };
  CHECK(greedy({}) == 1);
  CHECK(greedy({.repetition_penalty = 2.0F}) == 2);                       // 3 / 2 < 2
  CHECK(greedy({.presence_penalty = 1.5F}) == 2);                         // 3 - 1.5 < 2
  CHECK(greedy({.frequency_penalty = 0.6F}) == 3);                        // 3 - 1.2 < 3 - 0.6
  CHECK(greedy({.repetition_penalty = 2.0F, .penalty_window = 1}) == 1);  // only token 3 is recent
  CHECK(greedy({.repetition_penalty = 2.0F, .penalty_window = 0}) == 1);
  CHECK(greedy({.presence_penalty = 1.5F, .penalty_window = -1}) == 2);
  const std::vector<float> negative = {-1.0F, -2.0F, -1.5F, -9.0F, -9.0F};
  Sampler sampler({.repetition_penalty = 2.0F}, 5);
  CHECK(sampler.sample(negative, std::vector<TokenId>{0}) == 2);  // a negative logit is multiplied
  CHECK(sampler.sample(negative, {}) == 0);                       // and nothing is left behind for the next call
}

TEST_CASE("the same seed gives the same tokens, and a copy continues the stream") {
  const SamplingOptions options{.temperature = 1.0F, .seed = 42};
  Sampler first(options, 5);
  Sampler second(options, 5);
  for (int i = 0; i < 100; ++i) REQUIRE(first.sample(kLogits, {}) == second.sample(kLogits, {}));
  Sampler copy = first;
  int equal = 0;
  Sampler other({.temperature = 1.0F, .seed = 43}, 5);
  for (int i = 0; i < 100; ++i) {
    const TokenId token = first.sample(kLogits, {});
    REQUIRE(copy.sample(kLogits, {}) == token);
    equal += other.sample(kLogits, {}) == token ? 1 : 0;
  }
  CHECK(equal < 100);
}

TEST_CASE("logits without any finite number still give a token of the vocabulary") {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float value : {infinity, -infinity, nan}) {
    Sampler sampler({.temperature = 1.0F, .top_k = 3, .top_p = 0.5F, .min_p = 0.1F}, 5);
    const TokenId token = sampler.sample(std::vector<float>(5, value), {});
    CHECK(token >= 0);
    CHECK(token < 5);
  }
}

TEST_CASE("a draw uses one random number, whatever the logits, and a greedy choice none") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float value : {1.0F, infinity, -infinity}) {
    for (const float temperature : {0.0F, 1.0F}) {
      const SamplingOptions options{.temperature = temperature, .top_p = 0.5F, .seed = 3};
      Sampler sampled(options, 5);
      Sampler skipped(options, 5);
      sampled.sample(std::vector<float>(5, value), {});
      skipped.skip();
      CHECK(sampled.random().state() == skipped.random().state());
      CHECK((sampled.random().state() == options.seed) == (temperature == 0.0F));
    }
  }
}

TEST_CASE("options out of range are refused by name") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto refused = [](const SamplingOptions& options, const std::string& name) {
    const auto checked = inlay::check_sampling(options);
    return checked.code() == inlay::StatusCode::kInvalidArgument &&
           checked.status().message().find(name) != std::string::npos;
  };
  CHECK(inlay::check_sampling({}).ok());
  CHECK(refused({.temperature = -1.0F}, "temperature"));
  CHECK(refused({.temperature = nan}, "temperature"));
  CHECK(refused({.top_k = -1}, "top_k"));
  CHECK(refused({.top_p = 0.0F}, "top_p"));
  CHECK(refused({.top_p = 1.5F}, "top_p"));
  CHECK(refused({.min_p = -0.1F}, "min_p"));
  CHECK(refused({.repetition_penalty = 0.0F}, "repetition_penalty"));
  CHECK(refused({.frequency_penalty = nan}, "frequency_penalty"));
  CHECK(refused({.presence_penalty = nan}, "presence_penalty"));
  CHECK(refused({.penalty_window = -2}, "penalty_window"));
}

}  // namespace
