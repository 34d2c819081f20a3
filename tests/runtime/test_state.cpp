#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "cpu/cpu_isa.hpp"
#include "runtime/session_state.hpp"
#include "runtime/sessions.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;
using Bytes = std::vector<std::byte>;

Bytes saved(const Session& session) {
  const auto bytes = session.save();
  REQUIRE_MESSAGE(bytes.ok(), bytes.status().message());
  return *bytes;
}

/// The next tokens and the logits behind them.
struct Continuation {
  std::vector<TokenId> tokens;
  Logits logits;
  bool operator==(const Continuation& other) const { return tokens == other.tokens && same_bits(logits, other.logits); }
};

Continuation go_on(Session& session, int n) {
  Continuation found;
  for (int i = 0; i < n; ++i) {
    const auto token = session.step();
    REQUIRE_MESSAGE(token.ok(), token.status().message());
    found.tokens.push_back(*token);
  }
  if (session.size() > 0) found.logits = logits_of(session);
  return found;
}

const SessionOptions kSampled = {.sampling = {.temperature = 0.9F, .top_k = 40, .seed = 7}};

/// A session of n tokens, the last five sampled one by one.
Session session_of(const Model& model, int n) {
  Session session = new_session(model, kSampled);
  const int prompt = std::max(n - 5, 0);
  if (prompt > 0) REQUIRE(session.prefill(some_tokens(prompt)).ok());
  if (prompt > 0) go_on(session, n - prompt);
  return session;
}

TEST_CASE("a restored session goes on as the one that was saved, bit for bit") {
  TinyModelOptions shape;
  shape.embedding_length = 128;  // heads of 32: the smallest that Q8_0 takes
  shape.formats = TinyModelFormats::all(Format::kQ8_0);
  const TempDir dir;
  const std::string path = dir.write("tiny.gguf", make_tiny_model(shape));
  int checked = 0;
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    for (const KvFormat format : {KvFormat::kF16, KvFormat::kQ8_0}) {
      ModelOptions options = {.threads = 2, .cpu_isa = table->name};
      options.kv_format = format;
      auto model = Model::open(path, options);
      REQUIRE_MESSAGE(model.ok(), model.status().message());
      for (const int n : {6, 63, 64, 65, 127, 128, 129, 200}) {
        CAPTURE(n);
        Session original = session_of(*model, n);
        const Bytes state = saved(original);
        Session restored = new_session(*model);
        REQUIRE(restored.prefill(some_tokens(100, 3)).ok());  // what it holds before does not matter
        const auto done = restored.restore(state);
        REQUIRE_MESSAGE(done.ok(), done.status().message());
        CHECK(restored.size() == n);
        CHECK(saved(restored).size() <= state.size());
        CHECK(go_on(restored, 20) == go_on(original, 20));
        ++checked;
      }
    }
  }
  MESSAGE(checked << " sessions of 6 to 200 tokens restored and continued by 20 sampled tokens");
}

TEST_CASE_FIXTURE(SessionTest, "an empty session can be saved and restored") {
  const Model model = open();
  Session session = new_session(model);
  REQUIRE(session.prefill(some_tokens(9)).ok());
  REQUIRE(session.restore(saved(new_session(model, kSampled))).ok());
  CHECK(session.size() == 0);
  CHECK(session.step().code() == StatusCode::kInvalidArgument);
}

TEST_CASE_FIXTURE(SessionTest, "equal sessions give equal bytes, whatever their pages held before") {
  const Model model = open();
  const std::vector<TokenId> tokens = some_tokens(90);
  Bytes first;
  {
    Session session = new_session(model);
    REQUIRE(session.prefill(tokens).ok());
    first = saved(session);
  }
  { REQUIRE(new_session(model).prefill(some_tokens(200, 5)).ok()); }
  Session again = new_session(model);
  REQUIRE(again.prefill(tokens).ok());
  CHECK(saved(again) == first);
  Session fork = *again.fork();
  CHECK(saved(fork) == first);
  const Model other = open();  // of the same file: as another process would do it
  Session elsewhere = new_session(other);
  REQUIRE(elsewhere.restore(first).ok());
  CHECK(go_on(elsewhere, 10) == go_on(again, 10));
}

/// Refuses the bytes, says so, and is what it was.
void check_refused(Session& session, const Logits& before, std::span<const std::byte> state, StatusCode code) {
  const std::vector<TokenId> tokens(session.tokens().begin(), session.tokens().end());
  const auto done = session.restore(state);
  REQUIRE(done.code() == code);
  REQUIRE(done.status().message().starts_with("saved session: "));
  REQUIRE(std::equal(tokens.begin(), tokens.end(), session.tokens().begin(), session.tokens().end()));
  REQUIRE(same_bits(logits_of(session), before));
}

TEST_CASE_FIXTURE(SessionTest, "every damaged state is refused, and the session is as before") {
  const Model model = open();
  Session session = session_of(model, 20);
  const Logits before = logits_of(session);
  const Bytes state = saved(session_of(model, 70));
  for (std::size_t i = 0; i < state.size(); ++i) {
    Bytes damaged = state;
    damaged[i] ^= std::byte{1} << (i % 8);
    check_refused(session, before, damaged, StatusCode::kInvalidState);
  }
  std::size_t lengths = 0;
  for (std::size_t size = 0; size < state.size(); size += size < 600 ? 1 : 509, ++lengths) {
    check_refused(session, before, std::span(state).first(size), StatusCode::kInvalidState);
  }
  Bytes longer = state;
  longer.push_back({});
  check_refused(session, before, longer, StatusCode::kInvalidState);
  MESSAGE(state.size() << " changed bytes and " << lengths << " cut lengths refused");
}

TEST_CASE_FIXTURE(SessionTest, "a state with a right checksum and wrong contents is refused") {
  const Model model = open();
  Session session = session_of(model, 20);
  const Logits before = logits_of(session);
  const Bytes state = saved(session_of(model, 70));
  const std::uint32_t nan = 0x7FC00000;
  struct Lie {
    std::size_t offset;
    std::uint32_t value;
  };
  const std::array<Lie, 13> lies = {{
      {8, 2},            // version
      {12, 1},           // KV format
      {16, 2},           // layout
      {20, 0},           // bytes of a page
      {24, 1},           // fingerprint
      {32, 0xFFFFFFFF},  // tokens
      {32, 69},
      {36, 0},  // pages
      {36, 0xFFFFFFFF},
      {40, nan},         // temperature
      {44, 0x80000000},  // top_k
      {88, 320},         // the first token
      {88 + 4 * 70, 2},  // kinds
  }};
  for (const Lie& lie : lies) {
    CAPTURE(lie.offset);
    Bytes changed = state;
    std::memcpy(changed.data() + lie.offset, &lie.value, sizeof lie.value);
    seal_state(changed);
    check_refused(session, before, changed, StatusCode::kInvalidState);
  }
}

TEST_CASE_FIXTURE(SessionTest, "a state of another model, or too long for the context, is refused") {
  const Model model = open();
  Session session = session_of(model, 20);
  const Logits before = logits_of(session);
  TinyModelOptions other;
  other.seed = 2;
  const std::string other_path = dir.write("other.gguf", make_tiny_model(other));
  const Model foreign = *Model::open(other_path, {.threads = 1});
  check_refused(session, before, saved(session_of(foreign, 70)), StatusCode::kInvalidState);

  Session small = new_session(model, {.context_length = 64});
  REQUIRE(small.prefill(some_tokens(10)).ok());
  check_refused(small, logits_of(small), saved(session_of(model, 65)), StatusCode::kContextFull);
  REQUIRE(small.restore(saved(session_of(model, 64))).ok());
  CHECK(small.size() == 64);
}

}  // namespace
