// A sequence of calls of inlay.h, chosen by the input, against a plain record of what every session must hold. Promises
// checked after every call: a failure changes nothing; the logits are those of the tokens, however these came together;
// what a session does never shows in another one.
#include <algorithm>
#include <map>
#include <utility>

#include "fuzz/c_api_support.hpp"

namespace {

using namespace inlay::fuzz;

constexpr std::size_t kSlots = 4;
constexpr int kMaxCalls = 64;
constexpr int kMaxRows = 200;  // of all forward passes of an input
using Tokens = std::vector<inlay_token>;

enum class Cancel { kNo, kPending, kMaybe };  // kMaybe: a batch has or has not noticed it

/// A session and what it must hold.
struct Slot {
  inlay_session* handle = nullptr;
  std::size_t model = 0;
  Tokens tokens;
  std::int32_t context_length = 0;
  bool is_greedy = true;
  Cancel cancel = Cancel::kNo;

  [[nodiscard]] std::size_t room() const { return static_cast<std::size_t>(context_length) - tokens.size(); }
};

struct Queued {
  std::size_t slot = 0;
  Tokens tokens;  // none: a step
};

/// What the callback of a generation sees, and when it has enough.
struct Listener {
  inlay_session* session = nullptr;
  std::size_t stop_after = 0;
  std::size_t cancel_after = 0;
  Tokens tokens;
  std::string text;
};

inlay_flow listen(void* user_data, inlay_token token, const char* text, std::size_t size) {
  auto& listener = *static_cast<Listener*>(user_data);
  if (token >= 0) listener.tokens.push_back(token);
  listener.text.append(text, size);
  if (listener.tokens.size() == listener.cancel_after) inlay_session_cancel(listener.session);
  return listener.tokens.size() == listener.stop_after ? INLAY_STOP : INLAY_CONTINUE;
}

inlay_token highest(const float* logits, std::size_t size) {
  return static_cast<inlay_token>(std::max_element(logits, logits + size) - logits);
}

class Calls {
 public:
  explicit Calls(Input& input) : input_(input) {
    demand(inlay_batch_create(&batch_, nullptr) == INLAY_OK, "a batch can be had");
  }
  ~Calls() {
    inlay_batch_free(batch_);
    for (const Slot& slot : slots_) inlay_session_free(slot.handle);
  }
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;

  void run() {
    for (int i = 0; i < kMaxCalls && n_rows_ < kMaxRows && !input_.at_end(); ++i) {
      call();
      for (const Slot& slot : slots_) check_tokens(slot);
    }
  }

 private:
  void call();
  void create(std::size_t index);
  void free_session(std::size_t index);
  void prefill(Slot& slot);
  void step(Slot& slot);
  void logits(Slot& slot);
  void compare_with_fresh(Slot& slot);
  void fork(std::size_t index);
  void rewind(Slot& slot);
  void set_sampling(Slot& slot);
  void read_tokens(const Slot& slot);
  void generate(Slot& slot);
  void cancel(Slot& slot);
  void queue(std::size_t index);
  void run_batch();
  void convert_text();
  void pass_nulls(Slot& slot);
  void read_info();

  void check_tokens(const Slot& slot);
  void check_logits(const Slot& slot, const float* values, std::size_t size);
  /// Whether `status` is the cancellation that the session has coming.
  bool is_cancelled(Slot& slot, inlay_status status, bool evaluates);
  Tokens make_tokens(const Slot& slot);
  inlay_sampling_options make_sampling();
  [[nodiscard]] bool is_queued(std::size_t index) const;
  void empty_batch();
  void check_generation(Slot& slot, const inlay_generation* generation, const Listener& listener, int max_tokens);

  Input& input_;
  std::array<Slot, kSlots> slots_;
  inlay_batch* batch_ = nullptr;
  std::vector<Queued> queue_;
  int n_rows_ = 0;
  std::array<std::map<Tokens, std::vector<float>>, 2> seen_;  // logits by model and tokens
};

void Calls::call() {
  const std::size_t index = input_.below(kSlots);
  Slot& slot = slots_[index];
  const std::size_t kind = input_.below(20);
  if (kind == 0) return free_session(index);
  if (kind == 1) return run_batch();
  if (kind == 2) return convert_text();
  if (kind == 3) return pass_nulls(slot);
  if (kind == 4) return read_info();
  if (slot.handle == nullptr) return create(index);
  switch (kind) {
    case 5:
      return fork(index);
    case 6:
      return rewind(slot);
    case 7:
      return set_sampling(slot);
    case 8:
      return read_tokens(slot);
    case 9:
      return generate(slot);
    case 10:
      return cancel(slot);
    case 11:
    case 12:
      return queue(index);
    case 13:
      return logits(slot);
    case 14:
      return compare_with_fresh(slot);
    case 15:
    case 16:
      return step(slot);
    default:
      return prefill(slot);
  }
}

void Calls::create(std::size_t index) {
  constexpr std::array<std::int32_t, 8> kLengths = {0, 1, 63, 64, 65, 130, -1, INT32_MAX};
  inlay_session_options options;
  inlay_session_options_init(&options, sizeof options);
  options.context_length = kLengths[input_.below(kLengths.size())];
  const inlay_sampling_options sampling = make_sampling();
  const SizedStruct sized_sampling(input_, sampling, 48);
  if (input_.one_in(2)) options.sampling = sized_sampling.get();
  const SizedStruct sized(input_, options, 24);
  const bool has_options = !input_.one_in(4);
  Slot made{.model = input_.below(2)};
  Error error(input_);
  const inlay_status status = error.check(inlay_session_create(
      test_model(made.model).handle(), has_options ? sized.get() : nullptr, &made.handle, error.out()));
  demand((status == INLAY_OK) == (made.handle != nullptr), "a session comes with success alone");
  if (status != INLAY_OK) {
    demand(status == INLAY_INVALID_ARGUMENT && has_options, "absurd options are an invalid argument");
    return;
  }
  demand(!has_options || (sized.is_valid() && (options.sampling == nullptr || sized_sampling.is_valid())),
         "a struct of a wrong size is refused");
  demand(inlay_session_context_length(made.handle, &made.context_length, nullptr) == INLAY_OK,
         "a context has a length");
  const std::int32_t wanted = has_options ? options.context_length : 0;
  demand(made.context_length == (wanted == 0 ? 256 : wanted), "a context is as long as asked for");
  made.is_greedy = !has_options || options.sampling == nullptr;
  slots_[index] = std::move(made);
}

bool Calls::is_queued(std::size_t index) const {
  return std::any_of(queue_.begin(), queue_.end(), [index](const Queued& entry) { return entry.slot == index; });
}

void Calls::empty_batch() {
  inlay_batch_free(std::exchange(batch_, nullptr));
  queue_.clear();
  demand(inlay_batch_create(&batch_, nullptr) == INLAY_OK, "a batch can be had");
}

void Calls::free_session(std::size_t index) {
  if (is_queued(index)) empty_batch();  // sessions outlive the run
  inlay_session_free(slots_[index].handle);
  slots_[index] = {};
}

/// Few different tokens, so that sessions come to the same texts; sometimes none or a wrong one.
Tokens Calls::make_tokens(const Slot& slot) {
  const inlay_token vocab_size = test_model(slot.model).vocab_size();
  Tokens tokens(input_.one_in(16) ? 60 + input_.below(12) : input_.below(6));  // a page of the KV cache holds 64
  const auto first = static_cast<inlay_token>(input_.byte());
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = (first + static_cast<inlay_token>(i)) % vocab_size;
  if (!tokens.empty() && input_.one_in(16))
    tokens.back() = input_.one_in(2) ? vocab_size : input_.number<inlay_token>();
  return tokens;
}

bool are_in_vocabulary(const Tokens& tokens, inlay_token vocab_size) {
  return std::all_of(tokens.begin(), tokens.end(), [=](inlay_token token) { return token >= 0 && token < vocab_size; });
}

bool Calls::is_cancelled(Slot& slot, inlay_status status, bool evaluates) {
  if (status == INLAY_CANCELLED) {
    demand(slot.cancel != Cancel::kNo, "only what was cancelled is cancelled");
    slot.cancel = Cancel::kNo;
    return true;
  }
  if (status == INLAY_OK && evaluates) {
    demand(slot.cancel != Cancel::kPending, "a cancelled call does not succeed");
    slot.cancel = Cancel::kNo;
  }
  return false;
}

void Calls::prefill(Slot& slot) {
  const Tokens tokens = make_tokens(slot);
  Error error(input_);
  const inlay_status status =
      error.check(inlay_session_prefill(slot.handle, tokens.data(), tokens.size(), error.out()));
  n_rows_ += static_cast<int>(tokens.size());
  if (is_cancelled(slot, status, true)) return;
  if (tokens.empty() || !are_in_vocabulary(tokens, test_model(slot.model).vocab_size())) {
    demand(status == INLAY_INVALID_ARGUMENT, "no token, or one outside the vocabulary, is an invalid argument");
    return;
  }
  demand(status == (tokens.size() > slot.room() ? INLAY_CONTEXT_FULL : INLAY_OK), "tokens are taken where they fit");
  if (status == INLAY_OK) slot.tokens.insert(slot.tokens.end(), tokens.begin(), tokens.end());
}

void Calls::step(Slot& slot) {
  if (input_.one_in(2)) logits(slot);
  const auto known = seen_[slot.model].find(slot.tokens);
  Error error(input_);
  inlay_token token = -7;
  const inlay_status status = error.check(inlay_session_step(slot.handle, &token, error.out()));
  ++n_rows_;
  if (status != INLAY_OK) demand(token == -7, "a failure leaves outputs alone");
  if (is_cancelled(slot, status, true)) return;
  if (slot.tokens.empty()) return demand(status == INLAY_INVALID_ARGUMENT, "a step needs a token before it");
  demand(status == (slot.room() == 0 ? INLAY_CONTEXT_FULL : INLAY_OK), "a step is taken where it fits");
  if (status != INLAY_OK) return;
  demand(token >= 0 && token < test_model(slot.model).vocab_size(), "a token is of the vocabulary");
  if (slot.is_greedy && known != seen_[slot.model].end()) {
    demand(token == highest(known->second.data(), known->second.size()), "a greedy step takes the highest logit");
  }
  slot.tokens.push_back(token);
}

void Calls::check_logits(const Slot& slot, const float* values, std::size_t size) {
  demand(size == static_cast<std::size_t>(test_model(slot.model).vocab_size()), "there is a logit for every token");
  const auto [known, is_new] = seen_[slot.model].try_emplace(slot.tokens, values, values + size);
  if (is_new) return;
  demand(std::memcmp(known->second.data(), values, size * sizeof(float)) == 0, "the same tokens have the same logits");
}

void Calls::logits(Slot& slot) {
  Error error(input_);
  const float* values = nullptr;
  std::size_t size = 0;
  const inlay_status status = error.check(inlay_session_logits(slot.handle, &values, &size, error.out()));
  ++n_rows_;
  if (is_cancelled(slot, status, false)) return;
  demand(status == (slot.tokens.empty() ? INLAY_INVALID_ARGUMENT : INLAY_OK), "logits follow a token");
  if (status == INLAY_OK) check_logits(slot, values, size);
}

/// A new session with the same tokens has the same logits.
void Calls::compare_with_fresh(Slot& slot) {
  if (slot.tokens.empty() || slot.cancel != Cancel::kNo) return;
  logits(slot);
  Slot fresh{.model = slot.model, .tokens = slot.tokens};
  demand(inlay_session_create(test_model(slot.model).handle(), nullptr, &fresh.handle, nullptr) == INLAY_OK,
         "there is room for a session");
  n_rows_ += static_cast<int>(slot.tokens.size());
  const inlay_status filled = inlay_session_prefill(fresh.handle, slot.tokens.data(), slot.tokens.size(), nullptr);
  demand(filled == INLAY_OK, "tokens of one session fit into another");
  logits(fresh);
  inlay_session_free(fresh.handle);
}

void Calls::fork(std::size_t index) {
  const std::size_t free_slot = (index + 1 + input_.below(kSlots - 1)) % kSlots;
  free_session(free_slot);
  Slot copy = slots_[index];
  copy.handle = nullptr;
  copy.cancel = Cancel::kNo;
  Error error(input_);
  demand(error.check(inlay_session_fork(slots_[index].handle, &copy.handle, error.out())) == INLAY_OK,
         "a session forks");
  slots_[free_slot] = std::move(copy);
  if (!input_.one_in(2) || slots_[index].cancel != Cancel::kNo) return;
  step(slots_[index]);
  step(slots_[free_slot]);
  demand(slots_[index].tokens == slots_[free_slot].tokens, "a fork goes on as the original does");
}

void Calls::rewind(Slot& slot) {
  const std::int32_t length =
      input_.one_in(8) ? input_.number<std::int32_t>() : static_cast<std::int32_t>(input_.below(80));
  Error error(input_);
  const inlay_status status = error.check(inlay_session_rewind(slot.handle, length, error.out()));
  const bool fits = length >= 0 && static_cast<std::size_t>(length) <= slot.tokens.size();
  demand(status == (fits ? INLAY_OK : INLAY_INVALID_ARGUMENT), "a session rewinds to where it was");
  if (fits) slot.tokens.resize(static_cast<std::size_t>(length));
}

inlay_sampling_options Calls::make_sampling() {
  inlay_sampling_options options;
  inlay_sampling_options_init(&options, sizeof options);
  options.seed = input_.byte();
  for (float* const field : {&options.temperature, &options.top_p, &options.min_p, &options.repetition_penalty,
                             &options.frequency_penalty, &options.presence_penalty}) {
    const std::size_t kind = input_.below(16);
    if (kind == 1) *field = input_.number<float>();
    if (kind > 8) *field = static_cast<float>(input_.byte()) / 128.0F;
  }
  for (std::int32_t* const field : {&options.top_k, &options.penalty_window}) {
    if (input_.one_in(2)) *field = input_.one_in(8) ? input_.number<std::int32_t>() : input_.number<std::int8_t>();
  }
  return options;
}

void Calls::set_sampling(Slot& slot) {
  const bool greedy = input_.one_in(2);
  const SizedStruct options(input_, make_sampling(), 48);
  Error error(input_);
  const inlay_status status =
      error.check(inlay_session_set_sampling(slot.handle, greedy ? nullptr : options.get(), error.out()));
  if (greedy) demand(status == INLAY_OK, "greedy is always possible");
  demand(status == INLAY_OK || status == INLAY_INVALID_ARGUMENT, "absurd options are an invalid argument");
  demand(status != INLAY_OK || greedy || options.is_valid(), "a struct of a wrong size is refused");
  if (status == INLAY_OK) slot.is_greedy = greedy;
}

/// Buffers of any size; what does not fit is not written.
void Calls::read_tokens(const Slot& slot) {
  const std::size_t capacity = input_.below(160);
  std::vector<inlay_token> out(capacity, -7);
  std::size_t size = 0;
  Error error(input_);
  const inlay_status status = error.check(inlay_session_tokens(slot.handle, out.data(), capacity, &size, error.out()));
  const bool asks = out.data() == nullptr;
  demand(size == slot.tokens.size(), "the size of the whole result is told");
  demand(status == (asks || size <= capacity ? INLAY_OK : INLAY_BUFFER_TOO_SMALL), "a result goes where it fits");
  if (status == INLAY_BUFFER_TOO_SMALL)
    demand(std::count(out.begin(), out.end(), -7) == std::ptrdiff_t(capacity), "else nothing is written");
}

void Calls::check_tokens(const Slot& slot) {
  if (slot.handle == nullptr) return;
  Tokens found(slot.tokens.size() + 1);
  std::size_t size = 0;
  demand(inlay_session_tokens(slot.handle, found.data(), found.size(), &size, nullptr) == INLAY_OK,
         "a session has no more tokens than it was given");
  found.resize(size);
  demand(found == slot.tokens, "a session holds what it was given");
}

void Calls::check_generation(Slot& slot, const inlay_generation* generation, const Listener& listener, int max_tokens) {
  std::size_t size = 0;
  const inlay_token* tokens = inlay_generation_tokens(generation, &size);
  const Tokens made(tokens, tokens + size);
  const char* text = inlay_generation_text(generation, &size);
  demand(made == listener.tokens && std::string(text, size) == listener.text, "a generation is what its callback saw");
  slot.tokens.insert(slot.tokens.end(), made.begin(), made.end());
  switch (inlay_generation_finish_reason(generation)) {
    case INLAY_FINISH_END_OF_GENERATION: {
      std::size_t n_tokens = 0;
      demand(inlay_session_tokens(slot.handle, nullptr, 0, &n_tokens, nullptr) == INLAY_OK, "tokens are counted");
      demand(n_tokens == slot.tokens.size() + 1, "an end token stands in the session alone");
      slot.tokens.resize(n_tokens);
      demand(inlay_session_tokens(slot.handle, slot.tokens.data(), n_tokens, &n_tokens, nullptr) == INLAY_OK,
             "and read");
      std::int32_t is_end = 0;
      static_cast<void>(inlay_token_is_end(test_model(slot.model).handle(), slot.tokens.back(), &is_end, nullptr));
      return demand(is_end == 1, "an end token ends a generation");
    }
    case INLAY_FINISH_MAX_TOKENS:
      return demand(made.size() == static_cast<std::size_t>(max_tokens), "as many tokens as asked for");
    case INLAY_FINISH_CONTEXT_FULL:
      return demand(slot.room() == 0, "the context is full");
    case INLAY_FINISH_STOPPED:
      return demand(made.size() == listener.stop_after, "the callback stopped");
    default:
      demand(slot.cancel != Cancel::kNo || (listener.cancel_after > 0 && made.size() >= listener.cancel_after),
             "it was cancelled");
      slot.cancel = Cancel::kNo;
  }
}

void Calls::generate(Slot& slot) {
  Listener listener{slot.handle, input_.below(20), input_.below(20), {}, {}};
  inlay_generate_options options;
  inlay_generate_options_init(&options, sizeof options);
  options.max_tokens = input_.number<std::int8_t>() % 40;
  options.on_token = listen;
  options.on_token_user_data = &listener;
  const SizedStruct sized(input_, options, 32);
  inlay_generation* generation = nullptr;
  Error error(input_);
  const inlay_status status = error.check(inlay_session_generate(slot.handle, sized.get(), &generation, error.out()));
  n_rows_ += static_cast<int>(listener.tokens.size());
  demand((status == INLAY_OK) == (generation != nullptr), "a generation comes with success alone");
  if (status == INLAY_OK) {
    demand(sized.is_valid() && options.max_tokens >= 0, "absurd options are refused");
    // A cancel after the last token waits for the next call.
    const bool waits = listener.cancel_after > 0 && listener.tokens.size() >= listener.cancel_after;
    check_generation(slot, generation, listener, options.max_tokens);
    if (waits) slot.cancel = Cancel::kMaybe;
  } else {
    demand(status == INLAY_INVALID_ARGUMENT, "a generation fails for its arguments alone");
    demand(!sized.is_valid() || options.max_tokens < 0 || slot.tokens.empty(), "good arguments generate");
  }
  inlay_generation_free(generation);
}

void Calls::cancel(Slot& slot) {
  inlay_session_cancel(slot.handle);
  slot.cancel = Cancel::kPending;
}

void Calls::queue(std::size_t index) {
  const Slot& slot = slots_[index];
  const bool is_step = input_.below(2) == 0;
  Queued entry{index, is_step ? Tokens() : make_tokens(slot)};
  Error error(input_);
  const inlay_status status = error.check(
      is_step ? inlay_batch_step(batch_, slot.handle, error.out())
              : inlay_batch_prefill(batch_, slot.handle, entry.tokens.data(), entry.tokens.size(), error.out()));
  demand(status == (is_step || !entry.tokens.empty() ? INLAY_OK : INLAY_INVALID_ARGUMENT), "tokens are queued");
  if (status == INLAY_OK) queue_.push_back(std::move(entry));
}

void Calls::run_batch() {
  const std::size_t capacity = input_.one_in(8) ? input_.below(4) : 64;
  Tokens out(capacity, -7);
  std::size_t size = 0;
  Error error(input_);
  const inlay_status status = error.check(inlay_batch_run(batch_, out.data(), capacity, &size, error.out()));
  if (status == INLAY_OK || status == INLAY_BUFFER_TOO_SMALL) demand(size == queue_.size(), "a batch tells its size");
  if (out.data() == nullptr || status == INLAY_BUFFER_TOO_SMALL)
    return demand(out.empty() || queue_.size() > capacity, "only what is too much does not fit");
  for (const Queued& entry : queue_) {
    Slot& slot = slots_[entry.slot];
    if (slot.cancel != Cancel::kNo) slot.cancel = Cancel::kMaybe;
    n_rows_ += 1 + static_cast<int>(entry.tokens.size());
  }
  const std::vector<Queued> ran = std::exchange(queue_, {});
  if (status != INLAY_OK) return;
  for (std::size_t i = 0; i < ran.size(); ++i) {
    Tokens& tokens = slots_[ran[i].slot].tokens;
    demand((out[i] == -1) == !ran[i].tokens.empty(), "a step has a token, a prefill has none");
    if (out[i] >= 0) tokens.push_back(out[i]);
    tokens.insert(tokens.end(), ran[i].tokens.begin(), ran[i].tokens.end());
  }
}

void Calls::convert_text() {
  const inlay_model* model = test_model(input_.below(2)).handle();
  const std::string text(input_.text(64));  // a block of its own
  const std::uint32_t flags = input_.one_in(8) ? input_.number<std::uint32_t>() : input_.byte() % 4U;
  Tokens tokens(input_.below(128), -7);
  std::size_t size = 0;
  Error error(input_);
  const inlay_status status = error.check(
      inlay_tokenize(model, text.data(), text.size(), flags, tokens.data(), tokens.size(), &size, error.out()));
  if ((flags & ~3U) != 0) return demand(status == INLAY_INVALID_ARGUMENT, "an unknown flag is refused");
  if (status != INLAY_OK || tokens.data() == nullptr) return demand(size >= tokens.size(), "a text has tokens");
  tokens.resize(size);
  if (input_.one_in(8)) tokens.push_back(input_.number<inlay_token>());
  std::string back(256, '\0');
  const inlay_status shown = error.check(inlay_detokenize(model, tokens.data(), tokens.size(), INLAY_RENDER_SPECIAL,
                                                          back.data(), back.size(), &size, error.out()));
  const bool are_tokens = are_in_vocabulary(tokens, 12);
  demand(are_tokens == (shown != INLAY_INVALID_ARGUMENT), "tokens of the vocabulary have a text");
  const inlay_token token = input_.number<inlay_token>() % 20;
  const inlay_status piece =
      error.check(inlay_token_piece(model, token, INLAY_NO_FLAGS, back.data(), back.size(), &size, error.out()));
  demand((piece == INLAY_OK) == (token >= 0 && token < 12), "a token of the vocabulary has a piece");
}

/// Every pointer that must be there, missing in turn.
void Calls::pass_nulls(Slot& slot) {
  const inlay_model* model = test_model(slot.model).handle();
  std::size_t size = 0;
  const float* values = nullptr;
  inlay_token token = 0;
  inlay_session* made = nullptr;
  inlay_session* session = slot.handle;
  Error error(input_);
  const auto refused = [&](inlay_status status) {
    demand(error.check(status) == INLAY_INVALID_ARGUMENT, "a missing pointer is an invalid argument");
  };
  refused(inlay_session_create(nullptr, nullptr, &made, error.out()));
  refused(inlay_session_create(model, nullptr, nullptr, error.out()));
  refused(inlay_session_prefill(nullptr, &token, 1, error.out()));
  refused(inlay_session_prefill(session, nullptr, 1 + input_.below(9), error.out()));
  refused(inlay_session_step(nullptr, &token, error.out()));
  refused(inlay_session_step(session, nullptr, error.out()));
  refused(inlay_session_logits(nullptr, &values, &size, error.out()));
  refused(inlay_session_logits(session, nullptr, &size, error.out()));
  refused(inlay_session_logits(session, &values, nullptr, error.out()));
  refused(inlay_session_fork(nullptr, &made, error.out()));
  refused(inlay_session_fork(session, nullptr, error.out()));
  refused(inlay_session_rewind(nullptr, 0, error.out()));
  refused(inlay_session_set_sampling(nullptr, nullptr, error.out()));
  refused(inlay_session_tokens(nullptr, nullptr, 0, &size, error.out()));
  refused(inlay_session_tokens(session, nullptr, 0, nullptr, error.out()));
  refused(inlay_session_tokens(session, nullptr, 1 + input_.below(9), &size, error.out()));
  refused(inlay_session_generate(nullptr, nullptr, nullptr, error.out()));
  refused(inlay_batch_prefill(batch_, nullptr, &token, 1, error.out()));
  refused(inlay_batch_prefill(nullptr, session, &token, 1, error.out()));
  refused(inlay_batch_step(batch_, nullptr, error.out()));
  refused(inlay_batch_run(batch_, &token, 1, nullptr, error.out()));
  refused(inlay_batch_run(batch_, nullptr, 1, &size, error.out()));
  refused(inlay_tokenize(model, nullptr, 1, 0, &token, 1, &size, error.out()));
  refused(inlay_detokenize(model, nullptr, 1, 0, nullptr, 0, &size, error.out()));
  refused(inlay_token_piece(nullptr, 0, 0, nullptr, 0, &size, error.out()));
  demand(made == nullptr, "a failure leaves outputs alone");
  inlay_session_cancel(nullptr);
  inlay_session_free(nullptr);
  inlay_generation_free(nullptr);
}

void Calls::read_info() {
  const inlay_model* model = test_model(input_.below(2)).handle();
  SizedStruct info(input_, inlay_model_info{}, 96);
  SizedStruct device(input_, inlay_device_info{}, 184);
  Error error(input_);
  // What a newer caller's struct holds beyond this version's is overwritten, so any tail will do.
  const auto fits = [](const auto* out) { return out->struct_size <= 4096; };
  const inlay_status informed = error.check(inlay_model_get_info(model, info.get(), error.out()));
  demand(informed == INLAY_OK || !info.is_valid(), "an info is written to a struct of a good size");
  demand(informed != INLAY_OK || fits(info.get()), "a wrong size is refused");
  const inlay_status described = error.check(inlay_model_get_device(model, device.get(), error.out()));
  demand(described == INLAY_OK || !device.is_valid(), "a device is written to a struct of a good size");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  Calls(input).run();
  return 0;
}
