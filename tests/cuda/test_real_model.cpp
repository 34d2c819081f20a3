// A real model on a GPU against the CPU.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/sessions.hpp"
#include "support/real_model.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

constexpr int kTokens = 64;

/// Two logits closer than this may change places: the CPU's activations of 8 bits move single logits by about as much.
constexpr double kMargin = 0.2;

constexpr std::array<std::string_view, 8> kPrompts = {
    "Once upon a time",
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "Water boils at",
    "In 1969, the first",
    "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
    "1, 2, 3, 4,",
    "Dear Sir or Madam,\n",
};

/// The token with the highest logit, and how far the next one is below it.
std::pair<TokenId, double> best_of(std::span<const float> logits) {
  const auto best = std::max_element(logits.begin(), logits.end());
  float next = -INFINITY;
  for (auto i = logits.begin(); i != logits.end(); ++i) {
    if (i != best) next = std::max(next, *i);
  }
  return {static_cast<TokenId>(best - logits.begin()), static_cast<double>(*best - next)};
}

/// The root of the mean squared difference, relative to the spread of the expected logits.
double difference(std::span<const float> found, std::span<const float> expected) {
  double mean = 0.0;
  for (const float x : expected) mean += static_cast<double>(x) / static_cast<double>(expected.size());
  double squares = 0.0;
  double spread = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    squares += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2.0);
    spread += std::pow(static_cast<double>(expected[i]) - mean, 2.0);
  }
  return std::sqrt(squares / spread);
}

/// How the steps of both devices compare.
struct Comparison {
  int agreed = 0;
  int close_calls = 0;
  double widest_gap = 0.0;
  double largest_difference = 0.0;
};

/// Feeds the CPU's tokens to both, so that every step is compared.
void compare_steps(Session& cpu, Session& gpu, std::string_view prompt, Comparison& all) {
  for (int step = 0; step < kTokens; ++step) {
    const Logits expected = logits_of(cpu);
    const Logits found = logits_of(gpu);
    const std::pair<TokenId, double> best = best_of(expected);
    const TokenId token = best.first;
    const double gap = best.second;  // no structured binding: the check below captures it
    all.largest_difference = std::max(all.largest_difference, difference(found, expected));
    if (best_of(found).first == token) {
      ++all.agreed;
    } else {
      CHECK_MESSAGE(gap < kMargin,
                    prompt << ", step " << step << ": another token, though the next is " << gap << " below the best");
      ++all.close_calls;
      all.widest_gap = std::max(all.widest_gap, gap);
    }
    const std::array<TokenId, 1> next = {token};
    REQUIRE(cpu.prefill(next).ok());
    REQUIRE(gpu.prefill(next).ok());
  }
}

TEST_CASE("64 greedy tokens of a real model agree with the CPU") {
  const auto path = real_model_path();
  if (!path) {
    MESSAGE("SKIPPED: the model is not there; examples/fetch_model.sh fetches it");
    return;
  }
  const auto open = [&](DeviceKind device) {
    ModelOptions options;
    options.device = device;
    auto model = Model::open(*path, options);
    REQUIRE_MESSAGE(model.ok(), model.status().message());
    return *std::move(model);
  };
  const Model on_cpu = open(DeviceKind::kCpu);
  const Model on_gpu = open(DeviceKind::kCuda);
  Comparison all;
  int same_texts = 0;
  for (const std::string_view prompt : kPrompts) {
    const auto ids = on_cpu.tokenizer().encode(prompt, {AddSpecial::kYes, ParseSpecial::kYes});
    REQUIRE(ids.ok());
    Session cpu = new_session(on_cpu);
    Session gpu = new_session(on_gpu);
    REQUIRE(cpu.prefill(*ids).ok());
    REQUIRE(gpu.prefill(*ids).ok());
    Session free = new_session(on_gpu);
    REQUIRE(free.prefill(*ids).ok());
    compare_steps(cpu, gpu, prompt, all);
    for (int step = 0; step < kTokens; ++step) REQUIRE(free.step().ok());
    const bool is_same = std::equal(free.tokens().begin(), free.tokens().end(), cpu.tokens().begin());
    same_texts += is_same ? 1 : 0;
  }
  CHECK(all.agreed > 9 * all.close_calls);
  MESSAGE(all.agreed << " steps agree, " << all.close_calls << " differ where the CPU's two best are at most "
                     << all.widest_gap << " apart (allowed: " << kMargin << "); logits differ by at most "
                     << all.largest_difference << " of their spread; " << same_texts << " of " << kPrompts.size()
                     << " texts of the GPU alone are the same");
}

}  // namespace
