// Sessions whose keys and values are kept in each of the formats, and sequences that several threads share.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <inlay/inlay.hpp>

#include "cpu/cpu_isa.hpp"
#include "support/temp_dir.hpp"
#include "support/tiny_model.hpp"

namespace {

using namespace inlay;
using Logits = std::vector<float>;

constexpr KvFormat kFormats[] = {KvFormat::kF16, KvFormat::kQ8_0};

/// Three KV heads, which no two threads can share evenly.
class KvFormatTest {
 public:
  KvFormatTest() {
    test::TinyModelOptions options;
    options.embedding_length = 96;
    options.n_heads = 6;
    options.n_kv_heads = 3;
    options.head_size = 32;
    options.context_length = 8192;
    path = dir.write("heads_of_32.gguf", test::make_tiny_model(options));
  }

  [[nodiscard]] Model open(const ModelOptions& options) const {
    auto model = Model::open(path, options);
    REQUIRE_MESSAGE(model.ok(), model.status().message());
    return *std::move(model);
  }

  test::TempDir dir;
  std::string path;
};

Session new_session(const Model& model) {
  auto session = Session::create(model);
  REQUIRE_MESSAGE(session.ok(), session.status().message());
  return *std::move(session);
}

std::vector<TokenId> some_tokens(int n) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back((i * 37 + i * i) % 320);
  return tokens;
}

Logits logits_of(Session& session) {
  const auto logits = session.logits();
  REQUIRE_MESSAGE(logits.ok(), logits.status().message());
  return {logits->begin(), logits->end()};
}

bool same_bits(const Logits& a, const Logits& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Logits after all of `tokens`, in pieces, and after three more steps.
std::vector<Logits> evaluate(const Model& model, std::span<const TokenId> tokens, std::size_t piece) {
  Session session = new_session(model);
  for (std::size_t i = 0; i < tokens.size(); i += piece) {
    REQUIRE(session.prefill(tokens.subspan(i, std::min(piece, tokens.size() - i))).ok());
  }
  std::vector<Logits> all = {logits_of(session)};
  for (int i = 0; i < 3; ++i) {
    REQUIRE(session.step().ok());
    all.push_back(logits_of(session));
  }
  return all;
}

/// How many ways to share out a sequence of n tokens were compared with one thread.
int check_threads(const KvFormatTest& test, const std::string& isa, KvFormat format, int n) {
  const std::vector<TokenId> tokens = some_tokens(n);
  const auto expected = evaluate(test.open({.threads = 1, .cpu_isa = isa, .kv_format = format}), tokens, tokens.size());
  int checked = 0;
  for (const int threads : {2, 3, 7}) {
    const Model model =
        test.open({.threads = threads, .batch_rows = 100 * threads, .cpu_isa = isa, .kv_format = format});
    const auto found = evaluate(model, tokens, 333);
    for (std::size_t i = 0; i < found.size(); ++i, ++checked) {
      CHECK(std::all_of(found[i].begin(), found[i].end(), [](float logit) { return std::isfinite(logit); }));
      CHECK_MESSAGE(same_bits(found[i], expected[i]), isa, ", format ", static_cast<int>(format), ", ", threads,
                    " threads, ", n, " tokens and ", i, " steps");
    }
  }
  return checked;
}

TEST_CASE_FIXTURE(KvFormatTest, "a long sequence has the same bits on any number of threads") {
  int checked = 0;
  for (const cpu::KernelTable* kernels : cpu::usable_kernels()) {
    const std::string isa = kernels->name;
    for (const KvFormat format : kFormats) checked += check_threads(*this, isa, format, isa == "generic" ? 300 : 1100);
  }
  // Beyond the units of one chunk.
  checked += check_threads(*this, cpu::usable_kernels().front()->name, KvFormat::kF16, 4700);
  MESSAGE("compared ", checked, " rows of logits");
}

TEST_CASE_FIXTURE(KvFormatTest, "pieces, forks and rewinds of a Q8_0 cache change no bit") {
  const std::vector<TokenId> tokens = some_tokens(150);
  const std::span<const TokenId> all = tokens;
  for (const cpu::KernelTable* kernels : cpu::usable_kernels()) {
    const std::string isa = kernels->name;
    CAPTURE(isa);
    const Model model = open({.threads = 2, .cpu_isa = isa, .kv_format = KvFormat::kQ8_0});
    const auto expected = evaluate(model, tokens, tokens.size());
    for (const std::size_t piece : {1, 7, 64, 65}) {
      const auto found = evaluate(model, tokens, piece);
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(same_bits(found[i], expected[i]));
    }
    Session session = new_session(model);
    REQUIRE(session.prefill(all.first(100)).ok());
    auto fork = session.fork();
    REQUIRE(fork.ok());
    REQUIRE(session.prefill(some_tokens(40)).ok());  // another continuation, in the page that both began with
    REQUIRE(fork->prefill(all.subspan(100)).ok());
    CHECK(same_bits(logits_of(*fork), expected.front()));
    REQUIRE(session.rewind(100).ok());
    REQUIRE(session.prefill(all.subspan(100)).ok());
    CHECK(same_bits(logits_of(session), expected.front()));
  }
}

TEST_CASE_FIXTURE(KvFormatTest, "a Q8_0 cache gives nearly the logits of halves") {
  const std::vector<TokenId> tokens = some_tokens(200);
  for (const cpu::KernelTable* kernels : cpu::usable_kernels()) {
    const std::string isa = kernels->name;
    const Logits halves = evaluate(open({.threads = 1, .cpu_isa = isa}), tokens, 200).front();
    const Model model = open({.threads = 1, .cpu_isa = isa, .kv_format = KvFormat::kQ8_0});
    const Logits quants = evaluate(model, tokens, 200).front();
    double squares = 0.0;
    double errors = 0.0;
    for (std::size_t i = 0; i < halves.size(); ++i) {
      squares += static_cast<double>(halves[i]) * static_cast<double>(halves[i]);
      errors += std::pow(static_cast<double>(halves[i]) - static_cast<double>(quants[i]), 2);
    }
    const double relative = std::sqrt(errors / squares);
    CHECK(relative > 0.0);  // else the option did nothing
    CHECK(relative < 0.02);
    MESSAGE(isa, ": off by ", relative, " of the logits' size");
  }
}

TEST_CASE_FIXTURE(KvFormatTest, "the estimate knows the format; heads that do not fit are refused by name") {
  const auto halves = Model::estimate(path, 6400);
  const auto quants = Model::estimate(path, 6400, {.kv_format = KvFormat::kQ8_0});
  REQUIRE(halves.ok());
  REQUIRE(quants.ok());
  CHECK(halves->kv_bytes == 100 * 2 * 2 * 3 * 64 * 32 * 2);
  CHECK(quants->kv_bytes == 100 * 28672);  // 2 layers, keys and values, 3 heads, 64 * (32 + 2) bytes, in whole 4 KiB
  CHECK(Model::open(path, {.kv_format = static_cast<KvFormat>(2)}).code() == StatusCode::kInvalidArgument);

  const std::string narrow = dir.write("heads_of_16.gguf", test::make_tiny_model({}));
  CHECK(Model::open(narrow).ok());
  const auto refused = Model::open(narrow, {.kv_format = KvFormat::kQ8_0});
  CHECK(refused.code() == StatusCode::kUnsupported);
  CHECK(refused.status().message() ==
        "model option kv_format: q8_0 needs heads whose size is a multiple of 32, found 16");
  CHECK(Model::estimate(narrow, 0, {.kv_format = KvFormat::kQ8_0}).code() == StatusCode::kUnsupported);
}

}  // namespace
