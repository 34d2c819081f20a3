#include "runtime/session_impl.hpp"

#include <mutex>
#include <string>
#include <utility>

#include "base/try.hpp"
#include "runtime/kv_pages.hpp"
#include "runtime/scheduler.hpp"

namespace inlay {

Session::Impl::Impl(std::shared_ptr<Model::Impl> shared_model, const Sampler& first_sampler, int length)
    : model(std::move(shared_model)), sampler(first_sampler), context_length(length) {
  tokens.reserve(static_cast<std::size_t>(length));
  kinds.reserve(static_cast<std::size_t>(length));
  pages.reserve(static_cast<std::size_t>(pages_for(length)));
  logits.resize(static_cast<std::size_t>(model->plan.spec.vocab_size));
}

Session::Impl::~Impl() {
  const std::lock_guard lock(model->mutex);
  restore(0, 0);
  model->stepper.forget(this);
  model->pages.withdraw(promised_pages);
}

Result<std::unique_ptr<Session::Impl>> Session::Impl::create(std::shared_ptr<Model::Impl> model, const Sampler& sampler,
                                                             int context_length) {
  auto session = std::make_unique<Impl>(std::move(model), sampler, context_length);
  Model::Impl& shared = *session->model;
  const std::lock_guard lock(shared.mutex);
  const int n_pages = pages_for(context_length);
  const std::int64_t needed = shared.pages.needed_for(n_pages);
  if (needed > kMaxPages) {
    return Status(StatusCode::kOutOfMemory, "KV cache: " + std::to_string(needed) +
                                                " pages for all sessions are more than " + std::to_string(kMaxPages));
  }
  if (needed > shared.pages.capacity()) INLAY_TRY(shared.executor->reserve_pages(static_cast<int>(needed)));
  shared.pages.commit(n_pages);
  session->promised_pages = n_pages;
  return session;
}

Result<std::unique_ptr<Session::Impl>> Session::Impl::fork() {
  settle();
  INLAY_TRY_ASSIGN(std::unique_ptr<Impl> copy, create(model, sampler, context_length));
  const std::lock_guard lock(model->mutex);
  copy->tokens.assign(tokens.begin(), tokens.end());
  copy->kinds.assign(kinds.begin(), kinds.end());
  copy->pages.assign(pages.begin(), pages.end());
  for (const PageId page : pages) model->pages.share(page);
  copy->evaluated = evaluated;
  copy->logits.assign(logits.begin(), logits.end());
  copy->logits_valid = logits_valid;
  return copy;
}

void Session::Impl::restore(std::size_t length, int first_pending) noexcept {
  tokens.resize(length);
  kinds.resize(length);
  if (first_pending < evaluated || length == 0) logits_valid = false;
  evaluated = first_pending;
  const auto keep = static_cast<std::size_t>(pages_for(evaluated));
  while (pages.size() > keep) {
    if (model->pages.release(pages.back()) && length == 0) model->executor->discard_page(pages.back());
    pages.pop_back();
  }
}

Result<void> Session::Impl::prepare_pages(int n) {
  if (evaluated % kKvPagePositions != 0 && model->pages.is_shared(pages.back())) {
    const PageId own = model->pages.take();
    const auto copied = model->executor->copy_page(pages.back(), own);
    if (!copied.ok()) {
      model->pages.release(own);
      return copied.status();
    }
    model->pages.release(pages.back());
    pages.back() = own;
  }
  const auto needed = static_cast<std::size_t>(pages_for(evaluated + n));
  while (pages.size() < needed) pages.push_back(model->pages.take());
  return {};
}

void Session::Impl::settle() noexcept {
  if (ahead == 0) return;
  const std::lock_guard lock(model->mutex);
  forget_ahead();
}

void Session::Impl::forget_ahead() noexcept {
  ahead = 0;  // what the pass writes is written again, or lies in pages that are free: passes run in their order
  restore(tokens.size(), evaluated);
}

Result<void> Session::Impl::check_append(std::span<const TokenId> appended) const {
  if (appended.empty()) return Status(StatusCode::kInvalidArgument, "prefill: no tokens");
  const std::int32_t vocab_size = model->plan.spec.vocab_size;
  for (const TokenId token : appended) {
    if (token < 0 || token >= vocab_size) {
      return Status(StatusCode::kInvalidArgument, "prefill: token id " + std::to_string(token) +
                                                      " is outside the vocabulary of " + std::to_string(vocab_size));
    }
  }
  const auto room = static_cast<std::size_t>(context_length) - tokens.size();
  if (appended.size() > room) {
    return Status(StatusCode::kContextFull, "prefill: " + std::to_string(appended.size()) +
                                                " tokens do not fit into the " + std::to_string(room) +
                                                " free positions of a context of " + std::to_string(context_length));
  }
  return {};
}

Result<void> Session::Impl::check_step() const {
  if (tokens.empty()) return Status(StatusCode::kInvalidArgument, "step: the session has no tokens yet");
  if (tokens.size() >= static_cast<std::size_t>(context_length)) {
    return Status(StatusCode::kContextFull,
                  "step: the context of " + std::to_string(context_length) + " tokens is full");
  }
  return {};
}

Result<void> Session::Impl::prefill(std::span<const TokenId> appended) {
  INLAY_TRY(check_append(appended));
  settle();
  const std::size_t old_length = tokens.size();
  const int old_evaluated = evaluated;
  const bool had_logits = logits_valid;
  append(appended);
  Impl* const self = this;
  const auto done = Scheduler::evaluate({&self, 1});
  if (done.ok()) return {};
  const std::lock_guard lock(model->mutex);
  restore(old_length, old_evaluated);
  logits_valid = had_logits;  // a failed pass writes no logits
  return done;
}

Result<std::span<const float>> Session::Impl::current_logits() {
  if (tokens.empty()) return Status(StatusCode::kInvalidArgument, "logits: the session has no tokens yet");
  settle();
  if (!logits_valid) {
    Impl* const self = this;
    INLAY_TRY(Scheduler::evaluate({&self, 1}));
  }
  return std::span<const float>(logits);
}

Result<TokenId> Session::Impl::step() {
  INLAY_TRY(check_step());
  if (take_cancel()) return Status(StatusCode::kCancelled, "the session was cancelled");
  Impl* const self = this;
  if (Stepper::takes({&self, 1})) {
    TokenId token = 0;
    INLAY_TRY(Stepper::step({&self, 1}, {&token, 1}));
    return token;
  }
  INLAY_TRY(current_logits());
  return sample_next();
}

void Session::Impl::append(std::span<const TokenId> appended) {
  tokens.insert(tokens.end(), appended.begin(), appended.end());
  kinds.insert(kinds.end(), appended.size(), appended.size() > 1 ? RowKind::kBulk : RowKind::kSingle);
  logits_valid = false;
}

TokenId Session::Impl::sample_next() {
  const TokenId token = sampler.sample(logits, tokens);
  append({&token, 1});
  return token;
}

Result<void> Session::Impl::rewind(int length) {
  if (length < 0 || static_cast<std::size_t>(length) > tokens.size()) {
    return Status(StatusCode::kInvalidArgument,
                  "rewind: length " + std::to_string(length) + " is not in [0, " + std::to_string(tokens.size()) + "]");
  }
  if (static_cast<std::size_t>(length) == tokens.size()) return {};
  settle();
  const std::lock_guard lock(model->mutex);
  // The last token that stays is evaluated again when its logits are asked for.
  restore(static_cast<std::size_t>(length), std::min(evaluated, std::max(length - 1, 0)));
  logits_valid = false;
  return {};
}

}  // namespace inlay
