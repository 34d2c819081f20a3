// Cancelling from another thread: that it works, and how long it takes.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "runtime/cancels.hpp"
#include "runtime/sessions.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;
#if defined(INLAY_TEST_INSTRUMENTED)
constexpr int kRows = 120;
#else
constexpr int kRows = 800;
#endif

/// A model whose prompt takes a while: 8 layers are 42 steps.
struct SlowModel : SessionTest {
  SlowModel() : SessionTest(slow()) {}

  static TinyModelOptions slow() {
    TinyModelOptions options;
    options.layers = 8;
    options.embedding_length = 256;
    options.feed_forward_length = 512;
    options.context_length = 4096;
    return options;
  }
};

TEST_CASE_FIXTURE(SlowModel,
                  "a cancelled prompt ends within a part of its forward pass, and the session is as before") {
  const Model model = open({.threads = 2, .batch_rows = kRows});  // all of the prompt in one forward pass
  Session session = new_session(model);
  const std::vector<TokenId> prompt = some_tokens(kRows);
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(session.prefill(prompt).ok());
  const double whole = seconds_since(start);
  REQUIRE(session.rewind(10).ok());
  const std::vector<double> waits = cancel_waits(session, std::span(prompt).first(kRows - 10), whole);
  const double median = waits[waits.size() / 2];
  MESSAGE("the pass takes " << whole * 1e3 << " ms; a cancel took " << median * 1e3 << " ms (median of " << waits.size()
                            << "), at most " << waits.back() * 1e3);
  CHECK(median < whole / 8);  // a whole pass would give about 0.7 of it
}

TEST_CASE_FIXTURE(SessionTest, "a generation on one thread is ended from another one") {
  const Model model = open({.threads = 2});
  Session session = new_session(model, {.context_length = 200000});
  REQUIRE(session.prefill(some_tokens(5)).ok());
  std::atomic<int> seen = 0;
  Generation generation;
  GenerateOptions options = {.max_tokens = 190000};
  options.on_token = [&](TokenId, std::string_view) {
    ++seen;
    return Flow::kContinue;
  };
  REQUIRE(session.set_sampling({.temperature = 1.0F}).ok());
  std::thread worker([&] { generation = *session.generate(options); });
  while (seen.load() == 0) std::this_thread::yield();
  session.cancel();
  worker.join();
  const bool cancelled = generation.finish_reason == FinishReason::kCancelled;
  const bool ended = generation.finish_reason == FinishReason::kEndOfGeneration;  // by chance, before the cancel
  CHECK((cancelled || ended));
  MESSAGE("ended after " << generation.tokens.size() << " tokens");
}

TEST_CASE_FIXTURE(SessionTest, "opening is ended by its progress callback when another thread asks") {
  std::atomic<bool> stop = false;
  std::thread other([&] { stop = true; });
  ModelOptions options = {.threads = 2};
  options.progress = [&](float) {
    while (!stop.load()) std::this_thread::yield();
    return Flow::kStop;
  };
  CHECK(Model::open(path, options).code() == StatusCode::kCancelled);
  other.join();
}

}  // namespace
