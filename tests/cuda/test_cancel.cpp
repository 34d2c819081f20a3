// Cancelling from another thread while a GPU works: how long it takes, in passes.
#include <doctest/doctest.h>

#include <chrono>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "runtime/cancels.hpp"
#include "runtime/sessions.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

constexpr int kRows = 64;    // of a pass
constexpr int kPasses = 60;  // of the prompt
constexpr int kPrompt = kRows * kPasses;

/// A model for the GPU, and a prompt of many passes.
struct CudaModel : SessionTest {
  CudaModel() : SessionTest(many_layers()) {}

  static TinyModelOptions many_layers() {
    TinyModelOptions options;
    options.layers = 8;
    options.embedding_length = 256;
    options.feed_forward_length = 512;
    options.context_length = 2 * kPrompt;
    options.formats = TinyModelFormats::all(Format::kQ4_K);
    return options;
  }
  [[nodiscard]] Model open_on_gpu() const {
    ModelOptions options;
    options.device = DeviceKind::kCuda;
    options.batch_rows = kRows;
    return open(options);
  }
};

TEST_CASE_FIXTURE(CudaModel, "a cancelled prompt ends within a few passes, and the session is as before") {
  const Model model = open_on_gpu();
  Session session = new_session(model);
  const std::vector<TokenId> prompt = some_tokens(kPrompt);
  REQUIRE(session.prefill(prompt).ok());  // warm
  REQUIRE(session.rewind(1).ok());
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(session.prefill(prompt).ok());
  const double whole = seconds_since(start);
  REQUIRE(session.rewind(10).ok());
  const std::vector<double> waits = cancel_waits(session, std::span(prompt).first(kPrompt - 10), whole);
  const double median = waits[waits.size() / 2];
  const double pass = whole / kPasses;
  MESSAGE("a pass takes " << pass * 1e3 << " ms; a cancel took " << median * 1e3 << " ms (median of " << waits.size()
                          << "), at most " << waits.back() * 1e3);
  CHECK(median < 5 * pass + 1e-3);  // the one that runs; the whole prompt would give 40 on average
}

TEST_CASE_FIXTURE(CudaModel, "a cancelled generation ends within a token") {
  const Model model = open_on_gpu();
  Session session = new_session(model);
  REQUIRE(session.prefill(some_tokens(5)).ok());
  int seen = 0;
  int at_cancel = 0;
  GenerateOptions options = {.max_tokens = kPrompt};
  options.on_token = [&](TokenId, std::string_view) {
    if (++seen == 40) {
      std::thread other([&] { session.cancel(); });
      other.join();
      at_cancel = seen;
    }
    return Flow::kContinue;
  };
  const auto generation = session.generate(options);
  REQUIRE(generation.ok());
  if (generation->finish_reason == FinishReason::kEndOfGeneration) return;  // by chance, before the cancel
  CHECK(generation->finish_reason == FinishReason::kCancelled);
  CHECK(seen - at_cancel <= 1);
  MESSAGE("cancelled after " << at_cancel << " tokens, " << seen - at_cancel << " came after it");
}

}  // namespace
