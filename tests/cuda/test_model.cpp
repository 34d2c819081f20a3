// Whole passes on CUDA against the float32 reference, for tiny models of every shape.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include <inlay/session.hpp>

#include "cuda/device_pool.hpp"
#include "model/kv_page.hpp"
#include "runtime/registry.hpp"
#include "runtime/sessions.hpp"
#include "support/opened_plan.hpp"
#include "support/reference_executor.hpp"
#include "support/temp_dir.hpp"
#include "support/tiny_model.hpp"

namespace {

using namespace inlay;
using test::steps_of;

std::unique_ptr<Executor> load(const Plan& plan, KvFormat kv_format = KvFormat::kF16) {
  ExecutorOptions options;
  options.batch_rows = 256;
  options.kv_format = kv_format;
  auto executor = find_backend(DeviceKind::kCuda)->load(plan, options);
  REQUIRE_MESSAGE(executor.ok(), executor.status().message());
  return *std::move(executor);
}

/// Logits after each token, evaluated in chunks of the given sizes, taken in turn.
std::vector<float> logits_of(Executor& executor, const Plan& plan, std::span<const TokenId> tokens,
                             const std::vector<std::size_t>& chunks) {
  std::vector<PageId> pages((tokens.size() + kKvPagePositions - 1) / kKvPagePositions);
  std::iota(pages.rbegin(), pages.rend(), 0);
  REQUIRE(executor.reserve_pages(static_cast<int>(pages.size())).ok());
  const auto vocab_size = static_cast<std::size_t>(plan.spec.vocab_size);
  std::vector<float> logits(tokens.size() * vocab_size);
  const std::span<const PageId> table = pages;
  std::size_t n_passes = 0;
  for (std::size_t begin = 0; begin < tokens.size();) {
    std::vector<Row> rows;
    std::vector<float*> targets;
    const std::size_t end = std::min(begin + chunks[n_passes++ % chunks.size()], tokens.size());
    for (std::size_t i = begin; i < end; ++i) {
      rows.push_back({tokens[i], static_cast<std::int32_t>(i), 0, Want::kLogits, RowKind::kSingle});
      targets.push_back(&logits[i * vocab_size]);
    }
    const auto done = executor.forward({rows, {&table, 1}}, {targets});
    REQUIRE_MESSAGE(done.ok(), done.status().message());
    begin = end;
  }
  return logits;
}

std::vector<TokenId> some_tokens(std::size_t n, int vocab_size) {
  std::vector<TokenId> tokens(n);
  for (std::size_t i = 0; i < n; ++i)
    tokens[i] = static_cast<TokenId>((i * 37 + 11) % static_cast<std::size_t>(vocab_size));
  return tokens;
}

/// The difference of the worst logit, relative to the spread of all.
double difference(std::span<const float> found, std::span<const float> expected) {
  double worst = 0.0;
  double squares = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double d = std::abs(static_cast<double>(found[i]) - static_cast<double>(expected[i]));
    worst = std::max(worst, std::isnan(d) ? INFINITY : d);
    squares += std::pow(static_cast<double>(expected[i]), 2.0);
  }
  return worst / std::sqrt(squares / static_cast<double>(found.size()));
}

void check_model(const test::TinyModelOptions& options, const std::string& name, KvFormat kv_format = KvFormat::kF16,
                 double bound = 1e-2) {
  const auto opened = test::open_plan(test::make_tiny_model(options));
  const auto tokens = some_tokens(150, opened.plan.spec.vocab_size);
  const auto expected = test::reference_logits(opened.plan, tokens);
  const auto executor = load(opened.plan, kv_format);
  const auto alone = logits_of(*executor, opened.plan, tokens, {1});
  const double d = difference(alone, expected);
  CHECK_MESSAGE(d < bound, name);
  CHECK(logits_of(*executor, opened.plan, tokens, {1}) == alone);  // run to run
  // Passes of one row hand over in another way than those of more. The bits are the same, whatever comes between them.
  for (const std::vector<std::size_t>& chunks : {std::vector<std::size_t>{7}, {150}, {1, 1, 3, 1, 2}}) {
    CHECK_MESSAGE(logits_of(*executor, opened.plan, tokens, chunks) == alone, name << " in chunks of " << chunks[0]);
  }
  MESSAGE(name << ": largest difference " << d << " of the spread, the same in chunks of 1, 7, 150 and in turn");
}

test::TinyModelOptions wide() {
  test::TinyModelOptions options;
  options.embedding_length = 256;
  options.feed_forward_length = 512;
  options.n_heads = 8;
  return options;
}

TEST_CASE("models of every format") {
  for_each_format([](auto traits) {
    using F = decltype(traits);
    test::TinyModelOptions options = wide();
    options.formats = test::TinyModelFormats::all(F::format);
    check_model(options, F::name);
  });
}

TEST_CASE("group ratios, head sizes, biases, a tied head and mixed formats") {
  for (const std::uint32_t n_kv_heads : {1U, 2U, 8U}) {
    test::TinyModelOptions options = wide();
    options.n_kv_heads = n_kv_heads;
    options.formats.value = Format::kQ8_0;
    check_model(options, "groups");
  }
  test::TinyModelOptions odd = wide();
  odd.head_size = 40;
  odd.n_heads = 6, odd.n_kv_heads = 3;
  odd.embedding_length = 264, odd.feed_forward_length = 360;
  odd.rope_dimensions = 24;
  odd.attention_biases = true;
  odd.feed_forward_biases = true;
  odd.head = test::TinyHead::kTied;
  odd.rope_factors = true;
  check_model(odd, "odd sizes");
  test::TinyModelOptions part;  // of records: heads that are whole steps, rows that are not whole records
  part.n_heads = 9, part.n_kv_heads = 3, part.head_size = 32;
  part.embedding_length = 288, part.feed_forward_length = 352;
  part.formats = test::TinyModelFormats::all(Format::kQ8_0);
  check_model(part, "parts of records");
}

TEST_CASE("a KV cache of 8 bits") {
  test::TinyModelOptions options = wide();
  options.formats = test::TinyModelFormats::all(Format::kQ8_0);
  options.formats.value = Format::kQ4_K;
  check_model(options, "Q8_0 cache", KvFormat::kQ8_0, 0.15);  // what rounding to 8 bits does to so small a model
}

/// Greedy tokens, from logits that the host looks at.
std::vector<TokenId> greedy_by_logits(Session& session, int n) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < n; ++i) {
    const auto logits = session.logits();
    REQUIRE(logits.ok());
    tokens.push_back(static_cast<TokenId>(std::max_element(logits->begin(), logits->end()) - logits->begin()));
    REQUIRE(session.prefill({&tokens.back(), 1}).ok());
  }
  return tokens;
}

TEST_CASE("passes that run ahead of the host choose what the host would choose") {
  test::TinyModelOptions options = wide();
  options.formats = test::TinyModelFormats::all(Format::kQ4_K);
  const test::TempDir folder;
  const std::string path = folder.write("model.gguf", test::make_tiny_model(options));
  ModelOptions model_options;
  model_options.device = DeviceKind::kCuda;
  const auto model = Model::open(path, model_options);
  REQUIRE_MESSAGE(model.ok(), model.status().message());
  const auto prompt = some_tokens(20, model->info().vocab_size);
  const auto new_session = [&] {
    auto session = Session::create(*model);
    REQUIRE(session.ok());
    REQUIRE(session->prefill(prompt).ok());
    return *std::move(session);
  };
  Session by_logits = new_session();
  Session by_steps = new_session();
  const auto expected = greedy_by_logits(by_logits, 200);
  CHECK(steps_of(by_steps, 200) == expected);  // across three pages

  // Everything that can come between two steps.
  Session session = new_session();
  std::vector<TokenId> found = steps_of(session, 50);
  const auto logits = session.logits();
  REQUIRE(logits.ok());
  CHECK(std::max_element(logits->begin(), logits->end()) - logits->begin() == expected[50]);
  auto fork = session.fork();
  REQUIRE(fork.ok());
  const auto of_fork = steps_of(*fork, 30);
  const auto more = steps_of(session, 30);
  CHECK(of_fork == more);
  found.insert(found.end(), more.begin(), more.end());
  CHECK(std::equal(found.begin(), found.end(), expected.begin()));
  REQUIRE(session.rewind(20 + 40).ok());
  const auto again = steps_of(session, 60);
  CHECK(std::equal(again.begin(), again.end(), expected.begin() + 40));
  // Two sessions in turn.
  Session first = new_session();
  Session second = new_session();
  for (int i = 0; i < 40; ++i) {
    CHECK(steps_of(first, 1)[0] == expected[static_cast<std::size_t>(i)]);
    CHECK(steps_of(second, 1)[0] == expected[static_cast<std::size_t>(i)]);
  }
  // To the context's end.
  CHECK(steps_of(by_steps, by_steps.context_length() - by_steps.size()).size() > 10);
  CHECK(by_steps.step().code() == StatusCode::kContextFull);
  MESSAGE("checked " << expected.size() << " tokens and what comes between them");
}

TEST_CASE("out of memory at every allocation is a status, and the next load works") {
  test::TinyModelOptions options = wide();
  options.formats = test::TinyModelFormats::all(Format::kQ4_K);
  const auto opened = test::open_plan(test::make_tiny_model(options));
  const auto tokens = some_tokens(70, opened.plan.spec.vocab_size);
  const auto expected = logits_of(*load(opened.plan), opened.plan, tokens, {70});
  int failures = 0;
  for (int n = 0;; ++n) {
    ExecutorOptions executor_options;
    executor_options.batch_rows = 16;
    cuda::DevicePool::fail_after(n);
    auto executor = find_backend(DeviceKind::kCuda)->load(opened.plan, executor_options);
    Result<void> reserved = executor.ok() ? (*executor)->reserve_pages(2) : Result<void>(executor.status());
    cuda::DevicePool::fail_after(-1);
    if (reserved.ok()) break;
    CHECK(reserved.code() == StatusCode::kOutOfMemory);
    ++failures;
    if (executor.ok()) CHECK(logits_of(**executor, opened.plan, std::span(tokens).first(16), {16}).size() > 0);
  }
  CHECK(failures > 10);
  CHECK(logits_of(*load(opened.plan), opened.plan, tokens, {70}) == expected);
  MESSAGE("made " << failures << " allocations fail");
}

}  // namespace
