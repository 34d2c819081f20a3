// The real model against goldens made by llama.cpp's tokenizer and an independent float32 reference
// (tests/golden/make_goldens.py), and against this project's own float32 reference executor.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <inlay/inlay.hpp>

#include "fidelity/engine.hpp"
#include "support/opened_plan.hpp"
#include "support/real_model.hpp"
#include "support/reference_executor.hpp"

namespace {

using namespace inlay;

/// Two logits closer than this may change places: 8-bit activations move single logits by about as much.
constexpr double kMargin = 0.2;

nlohmann::json golden(const char* name) {
  std::ifstream file(std::string(INLAY_TEST_DATA "/golden/") + name);
  REQUIRE(file.good());
  return nlohmann::json::parse(file);
}

/// The path, or a message and an empty string that skips the case.
std::string model_or_skip() {
  const auto path = test::real_model_path();
  if (!path) MESSAGE("SKIPPED: the model is not there; examples/fetch_model.sh fetches it");
  return path.value_or("");
}

struct GoldenPrompt {
  std::string name;
  std::string text;
  ParseSpecial parse_special;
  std::vector<TokenId> prompt_ids;    // of the text
  std::vector<TokenId> start_ids;     // what generation starts from: a begin token where the text has none
  std::vector<TokenId> continuation;  // greedy, of the float32 reference
  std::vector<double> gaps;           // between its two highest logits at each step
};

std::vector<GoldenPrompt> golden_prompts() {
  std::vector<GoldenPrompt> prompts;
  const nlohmann::json document = golden("smollm2.json");
  for (const auto& entry : document["prompts"]) {
    prompts.push_back({entry["name"], entry["text"],
                       entry["parse_special"].get<bool>() ? ParseSpecial::kYes : ParseSpecial::kNo, entry["prompt_ids"],
                       entry["start_ids"], entry["continuation"], entry["gaps"]});
  }
  return prompts;
}

TEST_CASE("prompts have the ids that llama.cpp gives them, and their text comes back") {
  const std::string path = model_or_skip();
  if (path.empty()) return;
  const auto model = Model::open(path, {.threads = 1});
  REQUIRE_MESSAGE(model.ok(), model.status().message());
  const Tokenizer tokenizer = model->tokenizer();
  std::size_t n_ids = 0;
  const std::vector<GoldenPrompt> prompts = golden_prompts();
  for (const GoldenPrompt& prompt : prompts) {
    const auto ids = tokenizer.encode(prompt.text, {AddSpecial::kYes, prompt.parse_special});
    REQUIRE(ids.ok());
    CHECK_MESSAGE(*ids == prompt.prompt_ids, prompt.name);
    CHECK_MESSAGE(*tokenizer.decode(*ids, RenderSpecial::kYes) == prompt.text, prompt.name);
    n_ids += ids->size();
  }
  CHECK(prompts.size() >= 8);
  MESSAGE("checked " << n_ids << " ids of " << prompts.size() << " prompts");
}

TEST_CASE("greedy continuations of 64 tokens agree with the float32 reference") {
  const std::string path = model_or_skip();
  if (path.empty()) return;
  const auto opened = test::open_plan(path);
  const auto vocab_size = static_cast<std::size_t>(opened.plan.spec.vocab_size);
  const test::Way best = test::usable_ways().front();
  int agreed = 0;
  int close_calls = 0;
  double widest_gap = 0.0;
  for (const GoldenPrompt& prompt : golden_prompts()) {
    REQUIRE(prompt.continuation.size() == 64);
    // The reference's tokens are fed, so that every step is compared, not only those before the first close call.
    std::vector<TokenId> tokens = prompt.start_ids;
    tokens.insert(tokens.end(), prompt.continuation.begin(), prompt.continuation.end() - 1);
    const std::vector<float> logits = test::cpu_logits(opened.plan, tokens, prompt.start_ids.size() - 1, best);
    for (std::size_t i = 0; i < 64; ++i) {
      const std::span row = std::span(logits).subspan(i * vocab_size, vocab_size);
      const auto expected = static_cast<std::size_t>(prompt.continuation[i]);
      const bool same = test::argmax(row) == expected;
      agreed += same ? 1 : 0;
      if (same) continue;
      CHECK_MESSAGE(prompt.gaps[i] < kMargin,
                    prompt.name << ", step " << i << ": token " << test::argmax(row) << " instead of " << expected);
      ++close_calls;
      widest_gap = std::max(widest_gap, prompt.gaps[i]);
    }
  }
  MESSAGE(agreed << " steps agree; " << close_calls << " differ where the reference's two best are at most "
                 << widest_gap << " apart (allowed: " << kMargin << ")");
}

/// tests/golden/make_kl_reference.py describes the file.
struct KlReference {
  std::uint32_t positions = 0;
  std::uint32_t top = 0;
  std::vector<float> log_probabilities;  // [positions, top]
  std::vector<std::uint16_t> ids;        // [positions, top]
  std::vector<TokenId> text;             // [positions]
};

KlReference kl_reference() {
  std::ifstream file(INLAY_TEST_DATA "/golden/kl_reference.bin", std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  REQUIRE(bytes.size() > 24);
  REQUIRE(std::memcmp(bytes.data(), "INLAYKL1", 8) == 0);
  KlReference reference;
  const char* next = bytes.data() + 8;
  const auto take = [&next](void* to, std::size_t n) {
    std::memcpy(to, next, n);
    next += n;
  };
  take(&reference.positions, 4);
  take(&reference.top, 4);
  next += 8;
  const std::size_t entries = std::size_t{reference.positions} * reference.top;
  std::vector<std::uint16_t> text(reference.positions);
  REQUIRE(bytes.size() == 24 + entries * 6 + text.size() * 2);
  reference.log_probabilities.resize(entries);
  reference.ids.resize(entries);
  take(reference.log_probabilities.data(), entries * 4);
  take(reference.ids.data(), entries * 2);
  take(text.data(), text.size() * 2);
  reference.text.assign(text.begin(), text.end());
  return reference;
}

struct Divergence {
  double mean = 0.0;  // KL from the reference
  int same_best = 0;  // positions with the same best token
};

Divergence divergence_of(std::span<const float> reference, std::span<const float> found, std::size_t positions) {
  Divergence divergence;
  const std::size_t vocab_size = reference.size() / positions;
  for (std::size_t i = 0; i < positions; ++i) {
    const std::span expected = reference.subspan(i * vocab_size, vocab_size);
    const std::span row = found.subspan(i * vocab_size, vocab_size);
    divergence.mean += test::kl_divergence(expected, row) / static_cast<double>(positions);
    divergence.same_best += test::argmax(expected) == test::argmax(row) ? 1 : 0;
  }
  return divergence;
}

TEST_CASE("the next-token distributions are closer to float32 than llama.cpp's") {
  const std::string path = model_or_skip();
  if (path.empty()) return;
  KlReference golden_reference = kl_reference();
  REQUIRE(golden_reference.positions >= 500);
  golden_reference.positions = std::min<std::uint32_t>(golden_reference.positions, INLAY_TEST_POSITIONS);
  golden_reference.text.resize(golden_reference.positions);
  const auto opened = test::open_plan(path);
  const auto vocab_size = static_cast<std::size_t>(opened.plan.spec.vocab_size);
  const std::vector<float> reference = test::reference_logits(opened.plan, golden_reference.text);

  // First the reference executor itself, against the independent one.
  double largest = 0.0;
  for (std::size_t i = 0; i < golden_reference.positions; ++i) {
    const std::vector<double> found = test::log_softmax(std::span(reference).subspan(i * vocab_size, vocab_size));
    for (std::size_t j = 0; j < golden_reference.top; ++j) {
      const std::size_t entry = i * golden_reference.top + j;
      const double expected = golden_reference.log_probabilities[entry];
      largest = std::max(largest, std::abs(found[golden_reference.ids[entry]] - expected));
    }
  }
  CHECK(largest < 2e-3);
  MESSAGE("the two references agree within " << largest << " in log probability");

  const double peer = golden("kl_baseline.json")["best_mean"];
  const std::vector<test::Way> ways = test::usable_ways();
  for (const test::Way& way : ways) {
    if (way.isa != ways.front().isa) continue;
    const std::vector<float> found = test::cpu_logits(opened.plan, golden_reference.text, 0, way);
    const Divergence divergence = divergence_of(reference, found, golden_reference.positions);
    CHECK(divergence.mean <= peer);
    MESSAGE("mean KL over " << golden_reference.positions << " positions: " << divergence.mean << " on " << way.name()
                            << "; llama.cpp's: " << peer << "; same best token: " << divergence.same_best);
  }
}

}  // namespace
