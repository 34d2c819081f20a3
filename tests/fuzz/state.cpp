// A saved session, changed by the input and mostly sealed again with a right checksum: it is refused and changes
// nothing, or the session that takes it goes on as any other.
#include <vector>

#include "fuzz/c_api_support.hpp"
#include "runtime/fingerprint.hpp"

namespace {

using namespace inlay::fuzz;

constexpr std::int32_t kContextLength = 140;
constexpr std::size_t kPagePositions = 64;
using Bytes = std::vector<std::uint8_t>;
using Tokens = std::vector<inlay_token>;

inlay_session* make_session(std::size_t model) {
  inlay_session_options options;
  inlay_session_options_init(&options, sizeof options);
  options.context_length = kContextLength;
  inlay_session* session = nullptr;
  demand(inlay_session_create(test_model(model).handle(), &options, &session, nullptr) == INLAY_OK,
         "there is room for a session");
  return session;
}

void fill(inlay_session* session, std::size_t model, std::size_t n_tokens) {
  Tokens tokens(n_tokens);
  for (std::size_t i = 0; i < n_tokens; ++i) {
    tokens[i] = static_cast<inlay_token>(i * i) % test_model(model).vocab_size();
  }
  demand(inlay_session_prefill(session, tokens.data(), n_tokens, nullptr) == INLAY_OK, "a session is filled");
}

Bytes save(const inlay_session* session) {
  std::size_t size = 0;
  demand(inlay_session_save(session, nullptr, 0, &size, nullptr) == INLAY_OK, "a state has a size");
  Bytes bytes(size);
  demand(inlay_session_save(session, bytes.data(), size, &size, nullptr) == INLAY_OK, "a session is saved");
  demand(size == bytes.size(), "a state is as large as it was said to be");
  return bytes;
}

Tokens tokens_of(const inlay_session* session) {
  Tokens tokens(kContextLength);
  std::size_t size = 0;
  demand(inlay_session_tokens(session, tokens.data(), tokens.size(), &size, nullptr) == INLAY_OK, "tokens are read");
  tokens.resize(size);
  return tokens;
}

/// Of each model a session without tokens, with some, with two whole pages and more, and with exactly one page.
const Bytes& saved_state(std::size_t model, std::size_t kind) {
  static const std::vector<Bytes> kStates = [] {
    std::vector<Bytes> states;
    for (const std::size_t of_model : {0, 1}) {
      for (const std::size_t n_tokens : {0, 5, 130, 64}) {
        inlay_session* session = make_session(of_model);
        if (n_tokens > 0) fill(session, of_model, n_tokens);
        states.push_back(save(session));
        inlay_session_free(session);
      }
    }
    return states;
  }();
  return kStates[model * 4 + kind];
}

/// What XXH3 of the bytes ahead of the last eight makes of these.
void seal(Bytes& bytes) {
  if (bytes.size() < sizeof(std::uint64_t)) return;
  const std::size_t size = bytes.size() - sizeof(std::uint64_t);
  const std::uint64_t checksum = inlay::hash_bytes(std::as_bytes(std::span(bytes).first(size)));
  std::memcpy(bytes.data() + size, &checksum, sizeof checksum);
}

/// Numbers of one to eight bytes written over the state, most of them into its header and tokens.
void damage(Input& input, Bytes& bytes) {
  for (std::size_t n = input.below(6); n > 0 && !bytes.empty(); --n) {
    const std::size_t at = (input.one_in(4) ? input.number<std::uint16_t>() : input.byte()) % bytes.size();
    const auto value = input.number<std::uint64_t>();
    const std::size_t size = std::min<std::size_t>(1 + input.below(8), bytes.size() - at);
    std::memcpy(bytes.data() + at, &value, size);
  }
  const std::size_t resize = input.below(8);
  if (resize == 1) bytes.resize(input.number<std::uint16_t>() % (bytes.size() + 1));
  if (resize == 2) bytes.resize(bytes.size() + input.byte());
}

/// The session is one like any other: it steps, and steps again to the same after it was rewound or saved.
void use(inlay_session* session, const Tokens& before) {
  inlay_token first = -1;
  const inlay_status status = inlay_session_step(session, &first, nullptr);
  if (before.empty()) return demand(status == INLAY_INVALID_ARGUMENT, "a step needs a token before it");
  if (before.size() == kContextLength) return demand(status == INLAY_CONTEXT_FULL, "the context is full");
  demand(status == INLAY_OK, "a restored session steps");
  Tokens after = before;
  after.push_back(first);
  demand(tokens_of(session) == after, "a step appends its token");
  demand(inlay_session_rewind(session, static_cast<std::int32_t>(before.size()), nullptr) == INLAY_OK,
         "a restored session rewinds");
  const float* logits = nullptr;
  std::size_t size = 0;
  demand(inlay_session_logits(session, &logits, &size, nullptr) == INLAY_OK, "a restored session has logits");
}

void check_sampled_alike(inlay_session* session, inlay_session* twin, std::size_t room) {
  for (std::size_t i = 0; i < std::min<std::size_t>(room, 3); ++i) {
    inlay_token one = -1;
    inlay_token other = -1;
    demand(inlay_session_step(session, &one, nullptr) == INLAY_OK, "a session goes on");
    demand(inlay_session_step(twin, &other, nullptr) == INLAY_OK, "its twin goes on");
    demand(one == other, "what was saved goes on as what was not");
  }
}

/// What the accepted bytes made is saved again: these bytes make another session of it.
void check_accepted(inlay_session* session, std::size_t model) {
  const Tokens tokens = tokens_of(session);
  const Bytes again = save(session);
  inlay_session* twin = make_session(model);
  demand(inlay_session_restore(twin, again.data(), again.size(), nullptr) == INLAY_OK, "saved bytes are restored");
  demand(tokens_of(twin) == tokens, "a restored session has the tokens of the saved one");
  // The page of the last token is not saved but evaluated again, which may differ from what the input had put there.
  const bool has_same_pages = tokens.size() % kPagePositions != 0;
  if (has_same_pages) check_sampled_alike(session, twin, kContextLength - tokens.size());
  inlay_session_free(twin);
  demand(inlay_session_rewind(session, static_cast<std::int32_t>(tokens.size()), nullptr) == INLAY_OK, "back again");
  use(session, tokens);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const std::size_t model = input.below(2);
  const std::size_t other = input.one_in(16) ? 1 - model : model;
  const Bytes& original = saved_state(other, input.below(4));
  Bytes bytes = original;
  damage(input, bytes);
  if (!input.one_in(8)) seal(bytes);

  inlay_session* session = make_session(model);
  const std::size_t n_before = input.below(4);
  if (n_before > 0) fill(session, model, n_before);
  const Tokens before = tokens_of(session);
  const Bytes saved_before = save(session);
  Error error(input);
  const inlay_status status = error.check(inlay_session_restore(session, bytes.data(), bytes.size(), error.out()));
  if (bytes == original) demand((status == INLAY_OK) == (other == model), "a sound state fits its own model");
  if (status == INLAY_OK) {
    check_accepted(session, model);
  } else {
    demand(status == INLAY_INVALID_STATE || status == INLAY_CONTEXT_FULL, "bad bytes are an invalid state");
    demand(tokens_of(session) == before && save(session) == saved_before, "a refused state changes nothing");
    use(session, before);
  }
  inlay_session_free(session);
  return 0;
}
