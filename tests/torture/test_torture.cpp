// Every call to the system, one after the other, is made to fail: in opening a model, in everything that a session
// does, in making a smaller file. Wanted each time: a clean status, nothing leaked, and everything still works.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "capi/tiny.hpp"
#include "torture/failing_calls.hpp"

namespace {

using namespace inlay::test;
using Tokens = std::vector<inlay_token>;

constexpr FailureMode kModes[] = {FailureMode::kOnce, FailureMode::kFromOn};

inlay_model_options two_threads() {
  inlay_model_options options;
  inlay_model_options_init(&options, sizeof options);
  options.threads = 2;
  return options;
}

bool is_clean(inlay_status status) { return status == INLAY_OUT_OF_MEMORY || status == INLAY_IO_ERROR; }

std::int64_t open_files() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return std::distance(begin(files), end(files));
}

/// Counts what was seen, so that a test can say it.
struct Seen {
  std::int64_t calls = 0;
  std::int64_t failed = 0;     // with a status
  std::int64_t tolerated = 0;  // a failure that the call could do without
};

/// Runs `body` again and again, its 1st, 2nd, 3rd ... call failing, until it makes fewer calls than that. `check` is
/// told the status, with nothing failing any more, and frees what there is: nothing may be left of a failure.
template <class Body, class Check>
Seen fail_each(FailureMode mode, const Body& body, const Check& check) {
  Seen seen;
  for (std::int64_t n = 1;; ++n) {
    CAPTURE(n);
    const std::int64_t files = open_files();
    const std::int64_t before = live_allocations();
    inlay_status status = INLAY_OK;
    bool happened = false;
    {
      const FailNth failing(n, mode);
      status = body();
      happened = FailNth::happened();
    }
    if (status != INLAY_OK && !is_clean(status)) FAIL("call " << n << " failed, and the status was " << status);
    check(status);
    if (status != INLAY_OK) REQUIRE(live_allocations() == before);
    REQUIRE(open_files() == files);
    if (!happened) {
      REQUIRE(status == INLAY_OK);
      return seen;
    }
    ++seen.calls;
    ++(status == INLAY_OK ? seen.tolerated : seen.failed);
  }
}

void say(const std::string& what, const Seen& seen) {
  MESSAGE(what << ": each of " << seen.calls << " calls made to fail, " << seen.failed << " times with a status, "
               << seen.tolerated << " times without need of it");
}

/// The same prompt and steps every time.
Tokens answer(const inlay_model* model) {
  SessionHandle session;
  REQUIRE(inlay_session_create(model, nullptr, session.out(), nullptr) == INLAY_OK);
  REQUIRE(inlay_session_prefill(session.get(), kPrompt.data(), kPrompt.size(), nullptr) == INLAY_OK);
  Tokens tokens(6);
  for (inlay_token& token : tokens) REQUIRE(inlay_session_step(session.get(), &token, nullptr) == INLAY_OK);
  return tokens;
}

TEST_CASE_FIXTURE(TinyFixture, "torture: opening a model") {
  REQUIRE(opened);
  const Tokens expected = answer(model.get());
  const inlay_model_options options = two_threads();
  for (const FailureMode mode : kModes) {
    inlay_model* tried = nullptr;
    inlay_error* error = nullptr;
    const Seen seen = fail_each(
        mode, [&] { return inlay_model_open(path.c_str(), &options, &tried, &error); },
        [&](inlay_status status) {
          REQUIRE((tried != nullptr) == (status == INLAY_OK));
          if (tried != nullptr) REQUIRE(answer(tried) == expected);
          inlay_model_close(std::exchange(tried, nullptr));
          inlay_error_free(std::exchange(error, nullptr));
        });
    CHECK(seen.failed > 100);
    say("open", seen);
  }
}

/// A session of 70 sampled and given tokens on a model of two threads.
struct SessionFixture : TinyFixture {
  SessionFixture() {
    REQUIRE(opened);
    const inlay_model_options options = two_threads();
    REQUIRE(inlay_model_open(path.c_str(), &options, model.out(), nullptr) == INLAY_OK);
    for (int i = 0; i < 66; ++i) prompt.push_back(60 + i);
    renew();
  }
  void renew() {
    REQUIRE(inlay_session_create(model.get(), nullptr, session.out(), nullptr) == INLAY_OK);
    REQUIRE(inlay_session_prefill(session.get(), prompt.data(), prompt.size(), nullptr) == INLAY_OK);
    inlay_token token = 0;
    for (int i = 0; i < 4; ++i) REQUIRE(inlay_session_step(session.get(), &token, nullptr) == INLAY_OK);
  }

  /// `body` works on the session or makes another one in `made`. After a failure the session is what it was.
  void torture(const std::string& what, const std::function<inlay_status(inlay_error**)>& body) {
    for (const FailureMode mode : kModes) {
      renew();
      const Tokens tokens = tokens_of(session.get());
      const std::vector<float> logits = logits_of(session.get());
      inlay_error* error = nullptr;
      const Seen seen = fail_each(
          mode, [&] { return body(&error); },
          [&](inlay_status status) {
            inlay_error_free(std::exchange(error, nullptr));
            inlay_session_free(std::exchange(made, nullptr));
            inlay_generation_free(std::exchange(generation, nullptr));
            if (status == INLAY_OK) return renew();
            REQUIRE(tokens_of(session.get()) == tokens);
            REQUIRE(logits_of(session.get()) == logits);
          });
      say(what, seen);
    }
  }

  Tokens prompt;
  SessionHandle session;
  inlay_session* made = nullptr;
  inlay_generation* generation = nullptr;
};

TEST_CASE_FIXTURE(SessionFixture, "torture: sessions") {
  torture("create", [&](inlay_error** error) { return inlay_session_create(model.get(), nullptr, &made, error); });
  torture("fork", [&](inlay_error** error) { return inlay_session_fork(session.get(), &made, error); });
  torture("prefill", [&](inlay_error** error) {
    return inlay_session_prefill(session.get(), prompt.data(), prompt.size(), error);
  });
  torture("step", [&](inlay_error** error) {
    inlay_token token = 0;
    return inlay_session_step(session.get(), &token, error);
  });
  torture("rewind", [&](inlay_error** error) { return inlay_session_rewind(session.get(), 40, error); });
  inlay_sampling_options sampling;
  inlay_sampling_options_init(&sampling, sizeof sampling);
  sampling.temperature = 1.0F;
  torture("set_sampling",
          [&](inlay_error** error) { return inlay_session_set_sampling(session.get(), &sampling, error); });
}

TEST_CASE_FIXTURE(SessionFixture, "torture: saving and restoring") {
  std::vector<char> state(1 << 20);
  std::size_t size = 0;
  torture("save", [&](inlay_error** error) {
    return inlay_session_save(session.get(), state.data(), state.size(), &size, error);
  });
  state.resize(size);
  torture("restore",
          [&](inlay_error** error) { return inlay_session_restore(session.get(), state.data(), state.size(), error); });
}

TEST_CASE_FIXTURE(SessionFixture, "torture: text, metadata, devices, estimates") {
  const std::string text = "some text with ünïcode";
  Tokens tokens(100);
  std::vector<char> out(1 << 16);
  std::size_t size = 0;
  torture("tokenize", [&](inlay_error** error) {
    return inlay_tokenize(model.get(), text.data(), text.size(), INLAY_ADD_SPECIAL, tokens.data(), tokens.size(), &size,
                          error);
  });
  torture("detokenize", [&](inlay_error** error) {
    return inlay_detokenize(model.get(), prompt.data(), prompt.size(), 0, out.data(), out.size(), &size, error);
  });
  const std::string key = "tokenizer.ggml.tokens";
  torture("metadata", [&](inlay_error** error) {
    return inlay_model_metadata(model.get(), key.data(), key.size(), out.data(), out.size(), &size, error);
  });
  torture("device_count", [&](inlay_error** error) { return inlay_device_count(&size, error); });
  torture("estimate", [&](inlay_error** error) {
    inlay_memory_estimate estimate = {sizeof estimate, 0, 0, 0};
    return inlay_model_estimate(path.c_str(), 0, nullptr, &estimate, error);
  });
}

/// What a batch or a generation has done before it failed stays or not, but nothing leaks and the session goes on.
TEST_CASE_FIXTURE(SessionFixture, "torture: generating and batches") {
  for (const FailureMode mode : kModes) {
    const auto body = [&]() -> inlay_status {
      inlay_batch* batch = nullptr;
      inlay_token sampled = 0;
      std::size_t size = 0;
      inlay_status status = inlay_batch_create(&batch, nullptr);
      if (status == INLAY_OK) status = inlay_batch_step(batch, session.get(), nullptr);
      if (status == INLAY_OK) status = inlay_batch_run(batch, &sampled, 1, &size, nullptr);
      inlay_batch_free(batch);
      if (status != INLAY_OK) return status;
      inlay_generate_options options;
      inlay_generate_options_init(&options, sizeof options);
      options.max_tokens = 5;
      return inlay_session_generate(session.get(), &options, &generation, nullptr);
    };
    const Seen seen = fail_each(mode, body, [&](inlay_status) {
      inlay_generation_free(std::exchange(generation, nullptr));
      const Tokens now = tokens_of(session.get());
      SessionHandle fresh;
      REQUIRE(inlay_session_create(model.get(), nullptr, fresh.out(), nullptr) == INLAY_OK);
      REQUIRE(inlay_session_prefill(fresh.get(), now.data(), now.size(), nullptr) == INLAY_OK);
      REQUIRE(logits_of(session.get()).size() == logits_of(fresh.get()).size());
      inlay_token token = 0;
      REQUIRE(inlay_session_step(session.get(), &token, nullptr) == INLAY_OK);
      renew();
    });
    say("batch and generate", seen);
  }
}

TEST_CASE_FIXTURE(TinyFixture, "torture: quantising leaves no file behind") {
  REQUIRE(opened);
  inlay_quantize_options options;
  inlay_quantize_options_init(&options, sizeof options);
  options.type = "Q8_0";
  options.threads = 2;
  const std::string out = dir.file("small.gguf");
  for (const FailureMode mode : kModes) {
    inlay_error* error = nullptr;
    const Seen seen = fail_each(
        mode, [&] { return inlay_quantize(path.c_str(), out.c_str(), &options, &error); },
        [&](inlay_status status) {
          inlay_error_free(std::exchange(error, nullptr));
          std::vector<std::string> files;
          for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
            files.push_back(entry.path().filename().string());
          }
          REQUIRE(files.size() == (status == INLAY_OK ? 2U : 1U));
          std::filesystem::remove(out);
        });
    CHECK(seen.failed > 50);
    say("quantize", seen);
  }
}

}  // namespace
