// Sessions whose tokens are chosen on the device, with passes that run ahead of the host, against the host's sampler on
// the same logits.
#include <doctest/doctest.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/sampler.hpp"
#include "runtime/sessions.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

constexpr int kTokens = 150;  // across three pages
const std::vector<SamplingOptions> kSamplings = {
    {.temperature = 0.8F, .top_k = 40, .top_p = 0.95F, .seed = 1},
    {.temperature = 1.0F, .seed = 2},
    {},
    {.temperature = 2.0F, .top_p = 0.5F, .seed = 3},
    {.temperature = 0.7F, .min_p = 0.1F, .seed = 4},
    {.temperature = 1e6F, .seed = 5},
    {.temperature = 1.0F, .top_k = 1, .seed = 6},
    {.temperature = 1.0F, .top_k = 300, .top_p = 0.9F, .min_p = 0.01F, .seed = 7},
};

struct ModelOnGpu : SessionTest {
  ModelOnGpu() : SessionTest(shape()) {}

  static TinyModelOptions shape() {
    TinyModelOptions options;
    options.embedding_length = 256;
    options.feed_forward_length = 512;
    options.n_heads = 8;
    options.formats = TinyModelFormats::all(Format::kQ4_K);
    return options;
  }
  [[nodiscard]] Model open_on_gpu() const {
    ModelOptions options;
    options.device = DeviceKind::kCuda;
    return open(options);
  }
};

/// A session with a prompt of its own length and tokens.
Session prompted(const Model& model, std::size_t number) {
  Session session = new_session(model, {.sampling = kSamplings[number]});
  const auto n = static_cast<int>(number);
  REQUIRE(session.prefill(some_tokens(5 + 9 * n, n)).ok());
  return session;
}

/// What the host draws, looking at all logits.
std::vector<TokenId> by_logits(const Model& model, std::size_t number, int n) {
  Session session = prompted(model, number);
  Sampler sampler(kSamplings[number], model.info().vocab_size);
  std::vector<TokenId> tokens;
  for (int i = 0; i < n; ++i) {
    const auto logits = session.logits();
    REQUIRE_MESSAGE(logits.ok(), logits.status().message());
    tokens.push_back(sampler.sample(*logits, session.tokens()));
    REQUIRE(session.prefill({&tokens.back(), 1}).ok());
  }
  return tokens;
}

void check_steps(Session& session, std::span<const TokenId> expected) {
  for (const TokenId token : expected) {
    const auto found = session.step();
    REQUIRE_MESSAGE(found.ok(), found.status().message());
    REQUIRE(*found == token);
  }
}

TEST_CASE_FIXTURE(ModelOnGpu, "sampled passes that run ahead of the host draw what the host would draw") {
  const Model model = open_on_gpu();
  for (std::size_t number = 0; number < kSamplings.size(); ++number) {
    CAPTURE(number);
    const std::vector<TokenId> expected = by_logits(model, number, kTokens);
    const auto all = std::span(expected);
    Session session = prompted(model, number);
    check_steps(session, all.first(50));
    REQUIRE(session.logits().ok());  // forgets what runs ahead, and uses no random numbers
    check_steps(session, all.subspan(50, 20));
    auto fork = session.fork();
    REQUIRE(fork.ok());
    check_steps(*fork, all.subspan(70, 20));
    const auto state = session.save();
    REQUIRE(state.ok());
    check_steps(session, all.subspan(70, 20));
    REQUIRE(session.restore(*state).ok());
    check_steps(session, all.subspan(70));
  }
}

TEST_CASE_FIXTURE(ModelOnGpu, "sampled sessions in turn draw what each draws alone") {
  const Model model = open_on_gpu();
  const std::vector<TokenId> first = by_logits(model, 0, 40);
  const std::vector<TokenId> second = by_logits(model, 1, 40);
  Session a = prompted(model, 0);
  Session b = prompted(model, 1);
  for (std::size_t i = 0; i < 40; ++i) {
    check_steps(a, {&first[i], 1});
    check_steps(b, {&second[i], 1});
  }
}

std::vector<TokenId> step_all(std::span<Session* const> sessions) {
  Batch batch;
  for (Session* session : sessions) REQUIRE(batch.step(*session).ok());
  const auto tokens = batch.run();
  REQUIRE_MESSAGE(tokens.ok(), tokens.status().message());
  return *tokens;
}

TEST_CASE_FIXTURE(ModelOnGpu, "sessions of a batch that runs ahead draw what each draws alone") {
  const Model model = open_on_gpu();
  std::vector<std::vector<TokenId>> expected;
  for (std::size_t number = 0; number < kSamplings.size(); ++number) {
    Session alone = prompted(model, number);
    expected.emplace_back();
    for (int i = 0; i < kTokens; ++i) expected.back().push_back(*alone.step());
  }
  for (const std::size_t n : {2, 3, 8}) {  // mixed options; pages end at different steps
    CAPTURE(n);
    std::vector<Session> sessions;
    std::vector<Session*> all;
    for (std::size_t number = 0; number < n; ++number) sessions.push_back(prompted(model, number));
    for (Session& session : sessions) all.push_back(&session);
    for (std::size_t i = 0; i < kTokens; ++i) {
      const std::vector<TokenId> tokens = step_all(all);
      for (std::size_t row = 0; row < n; ++row) {
        CAPTURE(row);
        REQUIRE(tokens[row] == expected[row][i]);
      }
    }
  }
}

TEST_CASE_FIXTURE(ModelOnGpu, "a batch on the GPU whose company changes draws what each session draws alone") {
  const Model model = open_on_gpu();
  std::vector<std::vector<TokenId>> expected;
  std::vector<Session> sessions;
  for (std::size_t number = 0; number < 4; ++number) {
    expected.push_back(by_logits(model, number, kTokens));
    sessions.push_back(prompted(model, number));
  }
  const std::vector<std::vector<std::size_t>> companies = {{0, 1}, {0, 1, 2}, {2, 1, 0}, {1}, {1, 3}, {0, 1, 2, 3}};
  for (const std::vector<std::size_t>& rows : companies) {
    std::vector<Session*> chosen;
    for (const std::size_t row : rows) chosen.push_back(&sessions[row]);
    for (int i = 0; i < 20; ++i) {
      const std::vector<TokenId> tokens = step_all(chosen);
      for (std::size_t k = 0; k < rows.size(); ++k) {
        const Session& session = sessions[rows[k]];
        const std::size_t prompt = 5 + 9 * rows[k];
        const std::size_t n_drawn = session.tokens().size() - prompt;
        REQUIRE(tokens[k] == expected[rows[k]][n_drawn - 1]);
      }
      if (i == 9) REQUIRE(sessions[rows[0]].logits().ok());  // forgets what runs ahead of one of them
    }
  }
}

}  // namespace
