#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <inlay/inlay.hpp>

#include "cpu/cpu_isa.hpp"
#include "runtime/sessions.hpp"

namespace {

using namespace inlay;
using test::Logits;
using test::logits_of;
using test::new_session;
using test::same_bits;
using test::SessionTest;
using test::some_tokens;

/// Logits after all of `tokens`, prefilled in pieces of `piece`.
Logits prefilled(const Model& model, std::span<const TokenId> tokens, std::size_t piece) {
  Session session = new_session(model);
  for (std::size_t i = 0; i < tokens.size(); i += piece) {
    REQUIRE(session.prefill(tokens.subspan(i, std::min(piece, tokens.size() - i))).ok());
  }
  return logits_of(session);
}

/// Every way to cut the work must give the bits of `expected`, or of `one_by_one` where every token is a call of its
/// own; how many ways were tried.
int check_ways(const SessionTest& test, const std::string& isa, const std::vector<TokenId>& tokens,
               const Logits& expected, const Logits& one_by_one) {
  int checked = 0;
  for (const int threads : {1, 2, 3}) {
    for (const int batch_rows : {1, 7, 256}) {
      const Model model = test.open({.threads = threads, .batch_rows = batch_rows, .cpu_isa = isa});
      for (const std::size_t piece : {1, 3, 64, 65, 150}) {
        CHECK_MESSAGE(same_bits(prefilled(model, tokens, piece), piece == 1 ? one_by_one : expected),
                      isa << ", " << threads << " threads, batch rows " << batch_rows << ", pieces of " << piece);
        ++checked;
      }
    }
  }
  return checked;
}

TEST_CASE_FIXTURE(SessionTest, "chunks, threads, batch sizes and one token at a time give the same bits") {
  const std::vector<TokenId> tokens = some_tokens(150);
  for (const cpu::KernelTable* kernels : cpu::usable_kernels()) {
    const std::string isa = kernels->name;
    const Logits expected = prefilled(open({.threads = 1, .cpu_isa = isa}), tokens, tokens.size());
    CHECK(std::all_of(expected.begin(), expected.end(), [](float logit) { return std::isfinite(logit); }));
    const Logits one_by_one = prefilled(open({.threads = 1, .cpu_isa = isa}), tokens, 1);
    if (kernels->round_bulk == nullptr) CHECK(same_bits(one_by_one, expected));
    const int checked = check_ways(*this, isa, tokens, expected, one_by_one);
    MESSAGE(isa << ": checked " << checked << " ways to evaluate 150 tokens");
  }
}

/// The same five sessions twice: in batches together, and each alone.
struct Twins {
  explicit Twins(const Model& model) {
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      together.push_back(new_session(model, {.sampling = {.temperature = 0.8F, .seed = seed}}));
      alone.push_back(new_session(model, {.sampling = {.temperature = 0.8F, .seed = seed}}));
    }
  }

  void prefill(std::size_t i, const std::vector<TokenId>& tokens) {
    REQUIRE(batch.prefill(together[i], tokens).ok());
    REQUIRE(alone[i].prefill(tokens).ok());
    expected.push_back(-1);
  }
  void step(std::size_t i) {
    REQUIRE(batch.step(together[i]).ok());
    const auto token = alone[i].step();
    REQUIRE(token.ok());
    expected.push_back(*token);
  }
  void run_and_compare() {
    const auto sampled = batch.run();
    REQUIRE_MESSAGE(sampled.ok(), sampled.status().message());
    CHECK(*sampled == expected);
    expected.clear();
    for (std::size_t i = 0; i < together.size(); ++i) {
      CHECK(same_bits(logits_of(together[i]), logits_of(alone[i])));
    }
  }

  std::vector<Session> together;
  std::vector<Session> alone;
  std::vector<TokenId> expected;  // of the queued entries
  Batch batch;
};

TEST_CASE_FIXTURE(SessionTest, "rows of other sessions in the same pass change no bit") {
  for (const int threads : {1, 2, 3}) {
    const Model model = open({.threads = threads, .batch_rows = 50});
    Twins twins(model);
    for (std::size_t i = 0; i < 5; ++i) {
      twins.prefill(i, some_tokens(10 + 17 * static_cast<int>(i), static_cast<int>(i)));
    }
    twins.run_and_compare();
    for (int step = 0; step < 12; ++step) {
      // A mixed batch: session 0 gets a prompt piece every third step, the others decode.
      if (step % 3 == 2) {
        twins.prefill(0, some_tokens(9, step));
      } else {
        twins.step(0);
      }
      for (std::size_t i = 1; i < 5; ++i) twins.step(i);
      twins.run_and_compare();
    }
  }
}

TEST_CASE_FIXTURE(SessionTest, "a fork continues like its parent and neither disturbs the other") {
  const Model model = open();
  for (const int length : {2, 63, 64, 65, 100}) {  // around the page size: pages are shared, then copied on write
    const std::vector<TokenId> tokens = some_tokens(length);
    const std::vector<TokenId> left = some_tokens(30, 2);
    const std::vector<TokenId> right = some_tokens(30, 3);
    Session parent = new_session(model);
    REQUIRE(parent.prefill(tokens).ok());
    auto fork = parent.fork();
    REQUIRE(fork.ok());
    CHECK(same_bits(logits_of(parent), logits_of(*fork)));
    REQUIRE(fork->prefill(right).ok());
    REQUIRE(parent.prefill(left).ok());

    std::vector<TokenId> all_left = tokens;
    all_left.insert(all_left.end(), left.begin(), left.end());
    std::vector<TokenId> all_right = tokens;
    all_right.insert(all_right.end(), right.begin(), right.end());
    CHECK(same_bits(logits_of(parent), prefilled(model, all_left, 1000)));
    CHECK(same_bits(logits_of(*fork), prefilled(model, all_right, 1000)));
  }
}

TEST_CASE_FIXTURE(SessionTest, "a fork continues the random stream") {
  const Model model = open();
  Session session = new_session(model, {.sampling = {.temperature = 1.0F, .seed = 5}});
  REQUIRE(session.prefill(some_tokens(5)).ok());
  REQUIRE(session.step().ok());
  auto fork = session.fork();
  REQUIRE(fork.ok());
  for (int i = 0; i < 20; ++i) CHECK(*session.step() == *fork->step());
}

TEST_CASE_FIXTURE(SessionTest, "a rewound session is as if the dropped tokens had never been") {
  const Model model = open();
  const std::vector<TokenId> tokens = some_tokens(130);
  for (const int length : {1, 64, 65, 129, 130}) {
    Session session = new_session(model);
    REQUIRE(session.prefill(tokens).ok());
    REQUIRE(session.rewind(length).ok());
    CHECK(session.size() == length);
    const std::span kept(tokens.data(), static_cast<std::size_t>(length));
    const Logits rewound = logits_of(session);
    if (length > 1) CHECK(same_bits(rewound, prefilled(model, kept, 1000)));  // a call of one token is another kind
    REQUIRE(session.prefill(some_tokens(3, 9)).ok());
    std::vector<TokenId> all(kept.begin(), kept.end());
    for (const TokenId token : some_tokens(3, 9)) all.push_back(token);
    CHECK(same_bits(logits_of(session), prefilled(model, all, 1000)));
  }
  Session session = new_session(model);
  REQUIRE(session.prefill(tokens).ok());
  CHECK(session.rewind(131).code() == StatusCode::kInvalidArgument);
  CHECK(session.rewind(-1).code() == StatusCode::kInvalidArgument);
  CHECK(session.size() == 130);
  REQUIRE(session.rewind(0).ok());
  CHECK(session.logits().code() == StatusCode::kInvalidArgument);
  CHECK(session.step().code() == StatusCode::kInvalidArgument);
}

TEST_CASE_FIXTURE(SessionTest, "a full context is a status and changes nothing") {
  const Model model = open();
  Session session = new_session(model, {.context_length = 10});
  REQUIRE(session.prefill(some_tokens(8)).ok());
  const Logits before = logits_of(session);
  const auto too_long = session.prefill(some_tokens(3));
  CHECK(too_long.code() == StatusCode::kContextFull);
  CHECK(too_long.status().message().find("2 free positions") != std::string::npos);
  CHECK(session.size() == 8);
  CHECK(same_bits(logits_of(session), before));
  CHECK(session.step().ok());
  CHECK(session.step().ok());
  CHECK(session.step().code() == StatusCode::kContextFull);
  CHECK(session.size() == 10);
  CHECK(session.logits().ok());
  const auto generation = session.generate({.max_tokens = 5});
  REQUIRE(generation.ok());
  CHECK(generation->finish_reason == FinishReason::kContextFull);
  CHECK(generation->tokens.empty());
}

TEST_CASE_FIXTURE(SessionTest, "bad arguments are refused by name and change nothing") {
  const Model model = open();
  Session session = new_session(model);
  CHECK(session.prefill({}).code() == StatusCode::kInvalidArgument);
  CHECK(session.prefill(std::vector<TokenId>{1, 320}).status().message().find("320") != std::string::npos);
  CHECK(session.prefill(std::vector<TokenId>{-1}).code() == StatusCode::kInvalidArgument);
  CHECK(session.size() == 0);
  CHECK(session.step().code() == StatusCode::kInvalidArgument);
  CHECK(session.generate({.max_tokens = -1}).code() == StatusCode::kInvalidArgument);
  CHECK(session.set_sampling({.temperature = -1}).code() == StatusCode::kInvalidArgument);
  CHECK(Session::create(model, {.context_length = -1}).code() == StatusCode::kInvalidArgument);
  CHECK(Session::create(model, {.context_length = 1 << 30}).code() == StatusCode::kInvalidArgument);
  CHECK(Session::create(model, {.sampling = {.top_p = 2}}).code() == StatusCode::kInvalidArgument);
  const auto refused = [&](const ModelOptions& options, StatusCode code) {
    const auto opened = Model::open(path, options);
    CHECK(opened.code() == code);
    CHECK_FALSE(opened.status().message().empty());
  };
  refused({.threads = -1}, StatusCode::kInvalidArgument);
  refused({.threads = 100000}, StatusCode::kInvalidArgument);
  refused({.batch_rows = 0}, StatusCode::kInvalidArgument);
  refused({.batch_rows = 1 << 30}, StatusCode::kInvalidArgument);
  refused({.device_index = 3}, StatusCode::kNotFound);
  refused({.device = static_cast<DeviceKind>(77)}, StatusCode::kUnsupported);
  refused({.cpu_isa = "sparc"}, StatusCode::kInvalidArgument);
  CHECK(Model::open(path + ".missing").code() == StatusCode::kNotFound);
  CHECK(Model::open(dir.path().string()).code() == StatusCode::kIoError);
}

TEST_CASE_FIXTURE(SessionTest, "a batch refuses what it cannot run, and nothing has happened") {
  const Model model = open();
  const Model other = open();
  Session a = new_session(model);
  Session b = new_session(model, {.context_length = 4});
  Session foreign = new_session(other);
  REQUIRE(a.prefill(some_tokens(4)).ok());
  REQUIRE(b.prefill(some_tokens(4)).ok());
  REQUIRE(foreign.prefill(some_tokens(4)).ok());
  Batch batch;
  REQUIRE(batch.step(a).ok());
  REQUIRE(batch.step(a).ok());
  CHECK(batch.run().code() == StatusCode::kInvalidArgument);
  REQUIRE(batch.step(a).ok());
  REQUIRE(batch.step(foreign).ok());
  CHECK(batch.run().code() == StatusCode::kInvalidArgument);
  REQUIRE(batch.step(a).ok());
  REQUIRE(batch.step(b).ok());
  CHECK(batch.run().code() == StatusCode::kContextFull);
  CHECK(a.size() == 4);
  CHECK(batch.run()->empty());
}

TEST_CASE_FIXTURE(SessionTest, "cancel ends the next call, once") {
  const Model model = open();
  Session session = new_session(model);
  session.cancel();
  CHECK(session.prefill(some_tokens(20)).code() == StatusCode::kCancelled);
  CHECK(session.size() == 0);
  REQUIRE(session.prefill(some_tokens(20)).ok());
  const auto generation = session.generate({.max_tokens = 50, .on_token = [&](TokenId token, std::string_view) {
                                              if (token >= 0 && session.size() == 25) session.cancel();
                                              return Flow::kContinue;
                                            }});
  REQUIRE(generation.ok());
  CHECK(generation->finish_reason == FinishReason::kCancelled);
  CHECK(session.size() == 25);
  CHECK(session.step().ok());

  Session other = new_session(model);
  REQUIRE(other.prefill(some_tokens(5)).ok());
  REQUIRE(session.logits().ok());  // so that its step in a batch has nothing to evaluate
  session.cancel();
  Batch batch;
  for (const StatusCode expected : {StatusCode::kCancelled, StatusCode::kOk}) {
    REQUIRE(batch.step(session).ok());
    REQUIRE(batch.step(other).ok());
    CHECK(batch.run().code() == expected);
  }
  CHECK(session.size() == 27);
  CHECK(other.size() == 6);
}

TEST_CASE_FIXTURE(SessionTest,
                  "generate streams what it returns, stops when asked, and repeats itself with the same seed") {
  const Model model = open();
  const SessionOptions options{.sampling = {.temperature = 1.5F, .seed = 3}};
  std::string streamed;
  std::vector<TokenId> ids;
  Session first = new_session(model, options);
  REQUIRE(first.prefill(some_tokens(6)).ok());
  const auto generation = first.generate({.max_tokens = 60, .on_token = [&](TokenId token, std::string_view text) {
                                            if (token >= 0) ids.push_back(token);
                                            streamed += text;
                                            return Flow::kContinue;
                                          }});
  REQUIRE(generation.ok());
  CHECK(streamed == generation->text);
  CHECK(ids == generation->tokens);

  Session second = new_session(model, options);
  REQUIRE(second.prefill(some_tokens(6)).ok());
  const auto again = second.generate({.max_tokens = 60});
  REQUIRE(again.ok());
  CHECK(again->tokens == generation->tokens);
  CHECK(again->text == generation->text);

  Session third = new_session(model, options);
  REQUIRE(third.prefill(some_tokens(6)).ok());
  const auto stopped =
      third.generate({.max_tokens = 60, .on_token = [](TokenId, std::string_view) { return Flow::kStop; }});
  REQUIRE(stopped.ok());
  CHECK(stopped->finish_reason == FinishReason::kStopped);
  CHECK(stopped->tokens.size() == 1);
}

TEST_CASE_FIXTURE(SessionTest, "sessions on eight threads give what they give alone") {
  const Model model = open({.threads = 2});
  std::vector<std::vector<TokenId>> expected(8);
  std::vector<std::vector<TokenId>> found(8);
  const auto run = [&](std::size_t i) {
    Session session = new_session(model, {.sampling = {.temperature = 1.0F, .seed = i}});
    REQUIRE(session.prefill(some_tokens(20 + static_cast<int>(i), static_cast<int>(i))).ok());
    std::vector<TokenId> tokens;
    for (int step = 0; step < 20; ++step) tokens.push_back(*session.step());
    return tokens;
  };
  for (std::size_t i = 0; i < 8; ++i) expected[i] = run(i);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 8; ++i) threads.emplace_back([&, i] { found[i] = run(i); });
  for (std::thread& thread : threads) thread.join();
  CHECK(found == expected);
}

TEST_CASE_FIXTURE(SessionTest, "the host's threads give the same bits, and its exceptions become a status") {
  const std::vector<TokenId> tokens = some_tokens(40);
  const Logits expected = prefilled(open(), tokens, 1000);
  const ParallelFor backwards = [](std::int32_t count, const std::function<void(std::int32_t)>& body) {
    for (std::int32_t i = count - 1; i >= 0; --i) body(i);
  };
  CHECK(same_bits(prefilled(open({.threads = 3, .parallel_for = backwards}), tokens, 1000), expected));

  int calls_left = 0;  // until one that throws
  const ParallelFor throwing = [&](std::int32_t count, const std::function<void(std::int32_t)>& body) {
    if (--calls_left == 0) throw std::runtime_error("host failure");
    backwards(count, body);
  };
  calls_left = 2;
  const auto not_opened = Model::open(path, {.threads = 2, .parallel_for = throwing});
  CHECK(not_opened.code() == StatusCode::kInternal);
  CHECK(not_opened.status().message().find("host failure") != std::string::npos);

  const Model model = open({.threads = 2, .parallel_for = throwing});
  calls_left = 4;
  Session session = new_session(model);
  const auto failed = session.prefill(tokens);
  CHECK(failed.code() == StatusCode::kInternal);
  CHECK(failed.status().message().find("host failure") != std::string::npos);
  CHECK(session.size() == 0);
  REQUIRE(session.prefill(tokens).ok());
  CHECK(same_bits(logits_of(session), expected));
}

TEST_CASE_FIXTURE(SessionTest, "opening reports progress from 0 to 1, can be stopped, and logs to the host only") {
  std::vector<float> fractions;
  std::string log;
  ModelOptions options;
  options.progress = [&](float fraction) {
    fractions.push_back(fraction);
    return Flow::kContinue;
  };
  options.log = [&](LogLevel, std::string_view message) { log += message; };
  const Model model = open(options);
  REQUIRE(fractions.size() > 1);
  CHECK(std::is_sorted(fractions.begin(), fractions.end()));
  CHECK(fractions.back() == doctest::Approx(1.0F));
  CHECK(log.find("tiny.gguf") != std::string::npos);
  for (std::size_t stop_at = 0; stop_at < fractions.size(); ++stop_at) {
    std::size_t calls = 0;
    options.progress = [&](float) { return calls++ == stop_at ? Flow::kStop : Flow::kContinue; };
    CHECK(Model::open(path, options).code() == StatusCode::kCancelled);
  }
  MESSAGE("stopped at each of " << fractions.size() << " reports");
}

TEST_CASE_FIXTURE(SessionTest, "information and estimate say what the file holds") {
  const Model model = open();
  CHECK(model.info().architecture == "llama");
  CHECK(model.info().quantization == "Q4_1");
  CHECK(model.info().n_layers == 2);
  CHECK(model.threads() == 1);
  CHECK(model.device().kind == DeviceKind::kCpu);
  CHECK(devices().front().kind == DeviceKind::kCpu);
  const auto estimate = Model::estimate(path, 100, {.threads = 1});
  REQUIRE(estimate.ok());
  CHECK(estimate->kv_bytes ==
        2 * 2 * 2 * 64 * 2 * 16 * 2 * 1);  // 2 pages, 2 layers, keys and values, 2 heads of 16 halves
  CHECK(estimate->weight_bytes > 0);
  CHECK(estimate->weight_bytes < model.info().file_bytes);
  CHECK(Model::estimate(path, -1).code() == StatusCode::kInvalidArgument);
}

TEST_CASE_FIXTURE(SessionTest, "handles keep what they need alive") {
  auto session = [&] { return new_session(open()); }();
  REQUIRE(session.prefill(some_tokens(5)).ok());
  CHECK(session.step().ok());
  const Tokenizer tokenizer = [&] { return open().tokenizer(); }();
  CHECK(tokenizer.encode("hello").ok());
  Session moved = std::move(session);
  CHECK(moved.size() == 6);
}

}  // namespace
