#include <inlay/session.hpp>

#include <algorithm>
#include <mutex>
#include <string>

#include "base/guard.hpp"
#include "base/try.hpp"
#include "runtime/kv_pages.hpp"
#include "runtime/scheduler.hpp"
#include "runtime/session_impl.hpp"

namespace inlay {
namespace {

Result<int> check_context_length(std::int32_t wanted, const ModelSpec& spec) {
  if (wanted == 0) return std::min(spec.context_length, kMaxContextLength);
  if (wanted > 0 && wanted <= kMaxContextLength) return wanted;
  return Status(StatusCode::kInvalidArgument, "session option context_length: " + std::to_string(wanted) +
                                                  " is not in [0, " + std::to_string(kMaxContextLength) + "]");
}

/// Hands finished text to the caller and remembers everything.
class TextSink {
 public:
  TextSink(const GenerateOptions& options, Tokenizer tokenizer, Generation& generation)
      : options_(options), tokenizer_(std::move(tokenizer)), generation_(generation) {}

  Result<Flow> token(TokenId token) {
    INLAY_TRY_ASSIGN(const std::string piece, tokenizer_.piece(token));
    INLAY_TRY_ASSIGN(const std::string text, stream_.push(piece));
    generation_.tokens.push_back(token);
    return emit(token, text);
  }

  /// What is left of an unfinished character.
  void finish() {
    const std::string rest = stream_.finish();
    if (!rest.empty()) emit(-1, rest);
  }

 private:
  Flow emit(TokenId token, const std::string& text) {
    generation_.text += text;
    return options_.on_token ? options_.on_token(token, text) : Flow::kContinue;
  }

  const GenerateOptions& options_;
  Tokenizer tokenizer_;
  Generation& generation_;
  Utf8Stream stream_;
};

/// Steps until something ends the generation. Failures other than a full context or a cancel are errors.
Result<FinishReason> run_steps(Session::Impl& session, int max_tokens, const Tokenizer& tokenizer, TextSink& sink) {
  for (int i = 0; i < max_tokens; ++i) {
    const Result<TokenId> token = session.step();
    if (token.code() == StatusCode::kContextFull) return FinishReason::kContextFull;
    if (token.code() == StatusCode::kCancelled) return FinishReason::kCancelled;
    if (!token.ok()) return token.status();
    if (tokenizer.is_end_of_generation(*token)) return FinishReason::kEndOfGeneration;
    INLAY_TRY_ASSIGN(const Flow flow, sink.token(*token));
    if (flow == Flow::kStop) return FinishReason::kStopped;
  }
  return FinishReason::kMaxTokens;
}

}  // namespace

Session::Session(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<Session> Session::create(const Model& model, const SessionOptions& options) noexcept {
  return guard([&]() -> Result<Session> {
    INLAY_TRY(check_sampling(options.sampling));
    const ModelSpec& spec = model.impl()->plan.spec;
    INLAY_TRY_ASSIGN(const int context_length, check_context_length(options.context_length, spec));
    INLAY_TRY_ASSIGN(std::unique_ptr<Impl> impl,
                     Impl::create(model.impl(), Sampler(options.sampling, spec.vocab_size), context_length));
    return Session(std::move(impl));
  });
}

Result<void> Session::prefill(std::span<const TokenId> tokens) noexcept {
  return guard([&] { return impl_->prefill(tokens); });
}

Result<TokenId> Session::step() noexcept {
  return guard([&] { return impl_->step(); });
}

Result<std::span<const float>> Session::logits() noexcept {
  return guard([&] { return impl_->current_logits(); });
}

Result<Generation> Session::generate(const GenerateOptions& options) noexcept {
  return guard([&]() -> Result<Generation> {
    if (options.max_tokens < 0) {
      return Status(StatusCode::kInvalidArgument,
                    "generate option max_tokens: " + std::to_string(options.max_tokens) + " is negative");
    }
    Generation generation;
    const Tokenizer tokenizer = model().tokenizer();
    TextSink sink(options, tokenizer, generation);
    INLAY_TRY_ASSIGN(generation.finish_reason, run_steps(*impl_, options.max_tokens, tokenizer, sink));
    sink.finish();
    return generation;
  });
}

Result<Session> Session::fork() const noexcept {
  return guard([&]() -> Result<Session> {
    INLAY_TRY_ASSIGN(std::unique_ptr<Impl> copy, impl_->fork());
    return Session(std::move(copy));
  });
}

Result<void> Session::rewind(std::int32_t length) noexcept {
  return guard([&] { return impl_->rewind(length); });
}

Result<std::vector<std::byte>> Session::save() const noexcept {
  return guard([&] { return impl_->save_state(); });
}

Result<void> Session::restore(std::span<const std::byte> state) noexcept {
  return guard([&] { return impl_->restore_state(state); });
}

Result<PassProfile> Session::profile() noexcept {
  return guard([&] { return impl_->profile(); });
}

Result<void> Session::set_sampling(const SamplingOptions& options) noexcept {
  return guard([&]() -> Result<void> {
    INLAY_TRY(check_sampling(options));
    Sampler sampler(options, impl_->model->plan.spec.vocab_size);
    impl_->settle();
    impl_->sampler = std::move(sampler);
    return {};
  });
}

std::span<const TokenId> Session::tokens() const noexcept { return impl_->tokens; }
std::int32_t Session::size() const noexcept { return static_cast<std::int32_t>(impl_->tokens.size()); }
std::int32_t Session::context_length() const noexcept { return impl_->context_length; }
Model Session::model() const noexcept { return Model(impl_->model); }
void Session::cancel() noexcept { impl_->cancelled.store(true); }

}  // namespace inlay
