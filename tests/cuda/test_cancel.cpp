// Cancelling from another thread while a GPU works: how long it takes, in passes.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <inlay/session.hpp>

#include "support/temp_dir.hpp"
#include "support/tiny_model.hpp"

namespace {

using namespace inlay;
using Clock = std::chrono::steady_clock;

constexpr int kRows = 64;    // of a pass
constexpr int kPasses = 60;  // of the prompt
constexpr int kPrompt = kRows * kPasses;

/// A model on the GPU, and a prompt of many passes.
class CudaModel {
 public:
  CudaModel() {
    test::TinyModelOptions options;
    options.layers = 8;
    options.embedding_length = 256;
    options.feed_forward_length = 512;
    options.context_length = 2 * kPrompt;
    options.formats = test::TinyModelFormats::all(Format::kQ4_K);
    path_ = folder_.write("model.gguf", test::make_tiny_model(options));
    ModelOptions model_options;
    model_options.device = DeviceKind::kCuda;
    model_options.batch_rows = kRows;
    auto model = Model::open(path_, model_options);
    REQUIRE_MESSAGE(model.ok(), model.status().message());
    model_ = *std::move(model);
    for (int i = 0; i < kPrompt; ++i)
      prompt_.push_back(static_cast<TokenId>((i * 37 + 11) % model_->info().vocab_size));
  }

  Session new_session() {
    auto session = Session::create(*model_);
    REQUIRE(session.ok());
    return *std::move(session);
  }
  [[nodiscard]] const std::vector<TokenId>& prompt() const { return prompt_; }

 private:
  test::TempDir folder_;
  std::string path_;
  std::optional<Model> model_;
  std::vector<TokenId> prompt_;
};

TEST_CASE_FIXTURE(CudaModel, "a cancelled prompt ends within a few passes, and the session is as before") {
  Session session = new_session();
  REQUIRE(session.prefill(prompt()).ok());  // warm
  REQUIRE(session.rewind(1).ok());
  const auto start = Clock::now();
  REQUIRE(session.prefill(prompt()).ok());
  const double whole = std::chrono::duration<double>(Clock::now() - start).count();
  REQUIRE(session.rewind(10).ok());
  std::vector<double> waits;
  for (int i = 0; i < 9; ++i) {
    Clock::time_point cancelled;
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::duration<double>(whole * (0.2 + 0.05 * i)));
      cancelled = Clock::now();
      session.cancel();
    });
    const auto done = session.prefill(std::span(prompt()).first(kPrompt - 10));
    const auto ended = Clock::now();
    other.join();
    if (done.ok()) {  // the machine was busy with other things until the prompt was done
      REQUIRE(session.step().code() == StatusCode::kCancelled);
      REQUIRE(session.rewind(10).ok());
      continue;
    }
    CHECK(done.code() == StatusCode::kCancelled);
    CHECK(session.size() == 10);
    waits.push_back(std::chrono::duration<double>(ended - cancelled).count());
  }
  REQUIRE(waits.size() >= 3);
  std::sort(waits.begin(), waits.end());
  const double median = waits[waits.size() / 2];
  const double pass = whole / kPasses;
  MESSAGE("a pass takes " << pass * 1e3 << " ms; a cancel took " << median * 1e3 << " ms (median of " << waits.size()
                          << "), at most " << waits.back() * 1e3);
  CHECK(median < 5 * pass + 1e-3);  // the one that runs; the whole prompt would give 35 on average
}

TEST_CASE_FIXTURE(CudaModel, "a cancelled generation ends within a token") {
  Session session = new_session();
  REQUIRE(session.prefill(std::span(prompt()).first(5)).ok());
  std::atomic<int> seen = 0;
  std::atomic<int> at_cancel = -1;
  GenerateOptions options = {.max_tokens = kPrompt};
  options.on_token = [&](TokenId, std::string_view) {
    if (seen.fetch_add(1) == 40) {  // the thread in between: as good as any other
      std::thread other([&] { session.cancel(); });
      other.join();
      at_cancel = seen.load();
    }
    return Flow::kContinue;
  };
  const auto generation = session.generate(options);
  REQUIRE(generation.ok());
  if (generation->finish_reason == FinishReason::kEndOfGeneration) return;  // by chance, before the cancel
  CHECK(generation->finish_reason == FinishReason::kCancelled);
  CHECK(seen.load() - at_cancel.load() <= 1);
  MESSAGE("cancelled after " << at_cancel.load() << " tokens, " << seen.load() - at_cancel.load() << " came after it");
}

}  // namespace
