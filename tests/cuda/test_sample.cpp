// Tokens drawn on the device against those of the host's sampler, from the same logits and the same random streams.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "cuda/device_array.hpp"
#include "cuda/step_sample.hpp"
#include "runtime/sampler.hpp"

namespace {

using namespace inlay;
using test::DeviceArray;

constexpr auto kRows = static_cast<std::size_t>(cuda::kLogitRows);

struct Logits {
  std::string name;
  std::vector<float> values;  // [V]
};

template <class Value>
Logits make_logits(const char* name, int vocab_size, const Value& value) {
  Logits logits{name, std::vector<float>(static_cast<std::size_t>(vocab_size))};
  for (int i = 0; i < vocab_size; ++i) logits.values[static_cast<std::size_t>(i)] = value(i);
  return logits;
}

std::vector<Logits> ordinary_logits(int vocab_size) {
  std::mt19937 random(static_cast<unsigned>(vocab_size));
  std::normal_distribution<float> normal;
  return {make_logits("wide", vocab_size, [&](int) { return 3.0F * normal(random); }),
          make_logits("narrow", vocab_size, [&](int) { return normal(random); }),
          make_logits("all equal", vocab_size, [](int) { return 2.5F; }),
          make_logits("one huge", vocab_size, [&](int i) { return i == vocab_size / 2 ? 100.0F : normal(random); })};
}

std::vector<Logits> extreme_logits(int vocab_size) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const auto among = [&](float value) { return [&, value](int i) { return i % 3 == 1 ? value : normal(random); }; };
  return {
      make_logits("NaN", vocab_size, [](int) { return kNan; }),
      make_logits("-inf", vocab_size, [](int) { return -kInfinity; }),
      make_logits("+inf", vocab_size, [](int) { return kInfinity; }),
      make_logits("some NaN", vocab_size, among(kNan)),
      make_logits("some -inf", vocab_size, among(-kInfinity)),
      make_logits("some +inf", vocab_size, among(kInfinity)),
      make_logits("many ties", vocab_size, [&](int) { return static_cast<float>(random() % 5); }),
      make_logits("zeros of both signs", vocab_size, [](int i) { return i % 2 == 0 ? 0.0F : -0.0F; }),
      make_logits("one very low", vocab_size, [&](int i) { return i == 3 ? -1e9F : normal(random); }),
      make_logits("largest floats", vocab_size, [&](int i) { return (i % 2 == 0 ? 6e37F : 1.0F) * normal(random); }),
      make_logits("smallest floats", vocab_size, [&](int) { return 1e-40F * normal(random); })};
}

std::vector<SamplingOptions> every_option(int vocab_size) {
  std::vector<SamplingOptions> all;
  for (const float temperature : {0.0F, 0.1F, 1.0F, 1e6F}) {
    for (const std::int32_t top_k : {0, 1, 40, vocab_size}) {
      for (const float top_p : {1.0F, 0.9F, 1e-9F}) {
        for (const float min_p : {0.0F, 0.05F, 1.0F}) {
          all.push_back({.temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p});
          all.back().seed = 1000 + all.size();
        }
      }
    }
  }
  return all;
}

cuda::RowChoice choice_of(const SamplingOptions& options) {
  const float log_min_p = options.min_p > 0.0F ? std::log(options.min_p) : -std::numeric_limits<float>::infinity();
  return {options.temperature, options.top_k, options.top_p, log_min_p, options.seed};
}

/// Device memory for draws from the same logits by up to eight rows with options of their own.
class DeviceSampler {
 public:
  explicit DeviceSampler(int vocab_size)
      : logits_(kRows * static_cast<std::size_t>(vocab_size)),
        rows_(std::vector<cuda::PassRow>(kRows)),
        logit_rows_(std::vector<std::int32_t>{7, 6, 5, 4, 3, 2, 1, 0}),
        choices_(kRows),
        n_chosen_(std::vector<unsigned>(kRows)),
        tokens_(std::size_t{cuda::kChoiceRing} * kRows),
        extremes_(kRows * static_cast<std::size_t>(cuda::slices_of(vocab_size))),
        bins_(kRows * cuda::kSampleBins),
        keys_(kRows * static_cast<std::size_t>(vocab_size)) {
    cuda::PassState& state = args_.state;
    state.rows = rows_.data(), state.logit_rows = logit_rows_.data(), state.choices = choices_.data();
    state.n_chosen = n_chosen_.data(), state.host_tokens = tokens_.data();
    args_.logits = logits_.data(), args_.vocab_size = vocab_size;
    args_.extremes = extremes_.data(), args_.bins = bins_.data(), args_.keys = keys_.data();
  }

  /// n_passes tokens of each row, [n_passes, n].
  std::vector<TokenId> draw(const Logits& logits, std::span<const SamplingOptions> options, int n_passes) {
    const std::size_t n = options.size();
    std::vector<cuda::RowChoice> choices;
    for (std::size_t i = 0; i < n; ++i) {
      choices.push_back(choice_of(options[i]));
      REQUIRE(cudaMemcpy(logits_.data() + i * logits.values.size(), logits.values.data(),
                         logits.values.size() * sizeof(float), cudaMemcpyHostToDevice) == cudaSuccess);
    }
    REQUIRE(cudaMemcpy(choices_.data(), choices.data(), n * sizeof(cuda::RowChoice), cudaMemcpyHostToDevice) ==
            cudaSuccess);
    args_.n = static_cast<int>(n);
    std::vector<TokenId> drawn;
    for (int pass = 0; pass < n_passes; ++pass, ++n_passes_) {
      REQUIRE(cuda::sample(args_, nullptr) == cudaSuccess);
      const auto of_host = tokens_.read();
      const auto of_rows = rows_.read();
      REQUIRE(n_chosen_.read() == std::vector<unsigned>(kRows, n_passes_ + 1));
      for (std::size_t i = 0; i < n; ++i) {
        drawn.push_back(of_host[n_passes_ % cuda::kChoiceRing * kRows + i]);
        REQUIRE(of_rows[7 - i].token == drawn.back());
      }
    }
    randoms_ = choices_.read();
    return drawn;
  }
  [[nodiscard]] std::uint64_t random(std::size_t row) const { return randoms_[row].random; }

 private:
  unsigned n_passes_ = 0;
  DeviceArray<float> logits_;
  DeviceArray<cuda::PassRow> rows_;
  DeviceArray<std::int32_t> logit_rows_;
  DeviceArray<cuda::RowChoice> choices_;
  DeviceArray<unsigned> n_chosen_;
  DeviceArray<std::int32_t> tokens_;
  DeviceArray<cuda::Extremes> extremes_;
  DeviceArray<cuda::SampleBin> bins_;
  DeviceArray<unsigned long long> keys_;
  cuda::SampleArgs args_;
  std::vector<cuda::RowChoice> randoms_;
};

/// Draws with all options, eight at a time, as the host does. Returns how many tokens were compared.
int check_draws(DeviceSampler& device, const Logits& logits, std::span<const SamplingOptions> options, int n_passes) {
  int checked = 0;
  for (std::size_t first = 0; first < options.size(); first += kRows) {
    const auto rows = options.subspan(first, std::min(kRows, options.size() - first));
    const std::vector<TokenId> found = device.draw(logits, rows, n_passes);
    for (std::size_t row = 0; row < rows.size(); ++row) {
      CAPTURE(logits.name);
      CAPTURE(rows[row].temperature);
      CAPTURE(rows[row].top_k);
      CAPTURE(rows[row].top_p);
      CAPTURE(rows[row].min_p);
      Sampler sampler(rows[row], static_cast<int>(logits.values.size()));
      for (std::size_t pass = 0; pass < static_cast<std::size_t>(n_passes); ++pass, ++checked) {
        CHECK(found[pass * rows.size() + row] == sampler.sample(logits.values, {}));
      }
      CHECK(device.random(row) == sampler.random().state());
    }
  }
  return checked;
}

TEST_CASE("the device draws the tokens that the host's sampler draws") {
  int checked = 0;
  for (const int vocab_size : {1, 5, 1000, 32000, 151936}) {
    CAPTURE(vocab_size);
    DeviceSampler device(vocab_size);
    for (const Logits& logits : ordinary_logits(vocab_size)) {
      checked += check_draws(device, logits, every_option(vocab_size), vocab_size > 10000 ? 1 : 4);
    }
  }
  MESSAGE("compared " << checked << " tokens");
}

TEST_CASE("the device draws from extreme logits what the host's sampler draws") {
  int checked = 0;
  for (const int vocab_size : {1, 5, 1000, 5000}) {
    CAPTURE(vocab_size);
    DeviceSampler device(vocab_size);
    for (const Logits& logits : extreme_logits(vocab_size)) {
      checked += check_draws(device, logits, every_option(vocab_size), 2);
    }
  }
  MESSAGE("compared " << checked << " tokens");
}

TEST_CASE("a row's draw does not depend on the rows beside it") {
  constexpr int kVocab = 32000;
  DeviceSampler device(kVocab);
  const Logits logits = ordinary_logits(kVocab).front();
  std::vector<SamplingOptions> options(kRows, {.temperature = 0.8F, .top_k = 40, .top_p = 0.95F});
  options[2] = {};
  options[5] = {.temperature = 1.3F, .min_p = 0.01F};
  for (std::size_t i = 0; i < kRows; ++i) options[i].seed = i;
  const std::vector<TokenId> together = device.draw(logits, options, 10);
  for (std::size_t i = 0; i < kRows; ++i) {
    const std::vector<TokenId> alone = device.draw(logits, {&options[i], 1}, 10);
    for (std::size_t pass = 0; pass < alone.size(); ++pass) CHECK(alone[pass] == together[pass * kRows + i]);
  }
}

}  // namespace
