// The executors against logits of an independent reference (tests/golden/make_tiny_models.py) and against each other.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fidelity/engine.hpp"
#include "support/opened_plan.hpp"
#include "support/reference_executor.hpp"
#include "support/tiny_model.hpp"

namespace {

using namespace inlay;

float largest_difference(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  float largest = 0.0F;
  for (std::size_t i = 0; i < a.size(); ++i) {
    REQUIRE(std::isfinite(a[i]));
    largest = std::max(largest, std::abs(a[i] - b[i]));
  }
  return largest;
}

float spread(std::span<const float> values) {
  double sum = 0.0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return static_cast<float>(std::sqrt(sum / static_cast<double>(values.size())));
}

TEST_CASE("linear, YaRN and factor-scaled rope, biases and head shapes agree with the independent reference") {
  const std::string folder = INLAY_TEST_DATA "/golden/";
  std::ifstream file(folder + "tiny.json");
  const auto goldens = nlohmann::json::parse(file);
  int checked = 0;
  for (const auto& model : goldens["models"]) {
    const auto opened = test::open_plan(folder + model["file"].get<std::string>());
    const auto tokens = model["tokens"].get<std::vector<TokenId>>();
    const auto vocab_size = static_cast<std::size_t>(opened.plan.spec.vocab_size);
    const std::vector<float> reference = test::reference_logits(opened.plan, tokens);
    for (const auto& [key, value] : model["logits_after"].items()) {
      const auto expected = value.get<std::vector<float>>();
      const std::span row = std::span(reference).subspan(std::stoul(key) * vocab_size, vocab_size);
      CHECK(largest_difference(row, expected) < 2e-5F);
      ++checked;
    }
    for (const test::Way& way : test::usable_ways()) {
      const std::vector<float> found = test::cpu_logits(opened.plan, tokens, 0, way);
      const float difference = largest_difference(found, reference);
      CHECK(difference < 2e-2F);  // F32 weights, logits up to about 4: what is left is the KV cache in halves
      MESSAGE(model["file"].get<std::string>() << ", " << way.name() << ": logits within " << difference);
    }
  }
  MESSAGE("checked " << checked << " rows of logits");
}

struct Shape {
  std::string name;
  test::TinyModelOptions options;
};

std::vector<Shape> shapes() {
  std::vector<Shape> all = {
      {"plain", {}},
      {"one KV head for eight", {.embedding_length = 128, .n_heads = 8, .n_kv_heads = 1}},
      {"heads of 24, wider than the embedding",
       {.embedding_length = 96, .n_heads = 6, .n_kv_heads = 3, .head_size = 24}},
      {"odd head size", {.embedding_length = 96, .n_heads = 2, .n_kv_heads = 1, .head_size = 40}},
      {"biases", {.attention_biases = true, .feed_forward_biases = true}},
      {"tied head, rope factors", {.head = test::TinyHead::kTied, .rope_factors = true}},
      {"a part of the head rotated", {.rope_dimensions = 8}},
      {"linear rope", {.rope_scaling_type = "linear"}},
      {"YaRN", {.rope_scaling_type = "yarn", .rope_scaling_factor = 4.0F}},
  };
  return all;
}

std::vector<TokenId> text_of(int n) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back((i * 53 + i * i * 7) % 320);
  return tokens;
}

TEST_CASE("every model shape agrees with the reference executor on every instruction set") {
  const std::vector<TokenId> tokens = text_of(140);  // three pages
  for (const Shape& shape : shapes()) {
    const auto opened = test::open_plan(test::make_tiny_model(shape.options));
    const std::vector<float> reference = test::reference_logits(opened.plan, tokens);
    for (const test::Way& way : test::usable_ways()) {
      const std::vector<float> found = test::cpu_logits(opened.plan, tokens, 0, way);
      const float relative = largest_difference(found, reference) / spread(reference);
      CHECK(relative < 1e-2F);
      MESSAGE(shape.name << ", " << way.name() << ": largest difference " << relative << " of the logits' size");
    }
  }
}

TEST_CASE("every weight format agrees with the reference executor on every instruction set") {
  const std::vector<TokenId> tokens = text_of(40);
  for_each_format([&](auto traits) {
    using Traits = decltype(traits);
    test::TinyModelOptions options{.embedding_length = 256, .n_heads = 4, .feed_forward_length = 256};
    options.formats = test::TinyModelFormats::all(Traits::format);
    const auto opened = test::open_plan(test::make_tiny_model(options));
    const std::vector<float> reference = test::reference_logits(opened.plan, tokens);
    const auto vocab_size = static_cast<std::size_t>(opened.plan.spec.vocab_size);
    for (const test::Way& way : test::usable_ways()) {
      const std::vector<float> found = test::cpu_logits(opened.plan, tokens, 0, way);
      double kl = 0.0;
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        kl += test::kl_divergence(std::span(reference).subspan(i * vocab_size, vocab_size),
                                  std::span(found).subspan(i * vocab_size, vocab_size));
      }
      kl /= static_cast<double>(tokens.size());
      // Quantised formats see activations of 8 bits, which costs up to 2e-3 on random weights. A wrong bit costs 1e-1.
      CHECK(kl < (Traits::block_weights == 1 ? 1e-5 : 4e-3));
      MESSAGE(std::string(Traits::name) << ", " << way.name() << ": mean KL " << kl);
    }
  });
}

}  // namespace
