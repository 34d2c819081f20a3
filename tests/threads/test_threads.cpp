// One model, many threads: what the headers say may be done at the same time is done at the same time. Run under
// ThreadSanitizer, too (the preset tsan).
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "runtime/sessions.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

constexpr int kThreads = 8;

/// Everything that one thread does with sessions of its own, and what comes of it.
struct Outcome {
  std::vector<TokenId> encoded;
  std::vector<TokenId> tokens;
  std::vector<TokenId> batched;
  std::string text;
  std::vector<float> logits;
  bool operator==(const Outcome&) const = default;
};

Outcome work(const Model& shared, const std::string& path, int seed) {
  const Model model = shared;  // handles are cheap
  Outcome outcome;
  outcome.encoded = *model.tokenizer().encode("a b c " + std::to_string(seed));
  Session session = new_session(model, {.sampling = {.temperature = 0.8F, .seed = static_cast<std::uint64_t>(seed)}});
  REQUIRE(session.prefill(some_tokens(70 + seed, seed)).ok());
  for (int i = 0; i < 6; ++i) REQUIRE(session.step().ok());
  Session fork = *session.fork();
  const auto state = session.save();
  REQUIRE(state.ok());
  Session restored = new_session(model);
  REQUIRE(restored.restore(*state).ok());
  Batch batch;
  for (Session* each : {&session, &fork, &restored}) REQUIRE(batch.step(*each).ok());
  outcome.batched = *batch.run();
  REQUIRE(fork.rewind(60).ok());
  outcome.text = fork.generate({.max_tokens = 5})->text;
  outcome.logits = logits_of(session);
  outcome.tokens.assign(session.tokens().begin(), session.tokens().end());
  REQUIRE(Model::estimate(path).ok());
  REQUIRE(model.metadata("general.architecture").ok());
  REQUIRE(model.info().n_layers == 2);
  REQUIRE(!devices().empty());
  return outcome;
}

void run_on_threads(const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(body, i);
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE_FIXTURE(SessionTest, "eight threads with sessions of one model get what one thread gets") {
  const Model model = open({.threads = 2});
  std::vector<Outcome> expected(kThreads);
  for (int i = 0; i < kThreads; ++i) expected[static_cast<std::size_t>(i)] = work(model, path, i);
  std::vector<Outcome> found(kThreads);
  run_on_threads([&](int i) { found[static_cast<std::size_t>(i)] = work(model, path, i); });
  CHECK(found == expected);
}

TEST_CASE_FIXTURE(SessionTest, "models are opened, used and closed on eight threads at the same time") {
  const Outcome expected = work(open({.threads = 2}), path, 3);
  std::vector<Outcome> found(kThreads);
  run_on_threads([&](int i) { found[static_cast<std::size_t>(i)] = work(open({.threads = 2}), path, 3); });
  for (const Outcome& outcome : found) CHECK(outcome == expected);
}

TEST_CASE_FIXTURE(SessionTest, "the last owner of a model may be on any thread") {
  std::vector<Session> sessions;
  {
    const Model model = open({.threads = 2});
    for (int i = 0; i < kThreads; ++i) sessions.push_back(new_session(model));
  }
  run_on_threads([&](int i) {
    Session session = std::move(sessions[static_cast<std::size_t>(i)]);
    REQUIRE(session.prefill(some_tokens(20, i)).ok());
  });
}

TEST_CASE_FIXTURE(SessionTest, "the host's parallel loop runs the parts on the host's threads") {
  ModelOptions options = {.threads = 3};
  options.parallel_for = [](std::int32_t count, const std::function<void(std::int32_t)>& body) {
    std::vector<std::thread> threads;
    for (std::int32_t i = 0; i < count; ++i) threads.emplace_back(body, i);
    for (std::thread& thread : threads) thread.join();
  };
  CHECK(work(open(options), path, 1) == work(open({.threads = 3}), path, 1));
}

}  // namespace
