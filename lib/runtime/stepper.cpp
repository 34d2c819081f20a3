#include "runtime/stepper.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/try.hpp"
#include "runtime/scheduler.hpp"
#include "runtime/session_impl.hpp"

namespace inlay {
namespace {

/// Whether the latest pass of the device is the one that runs ahead of all these sessions.
bool run_ahead(std::span<Session::Impl* const> sessions, PassId latest) {
  return latest != 0 && std::all_of(sessions.begin(), sessions.end(),
                                    [latest](const Session::Impl* session) { return session->ahead == latest; });
}

/// Starts the pass behind the one that runs ahead of the sessions; if there is none, the one of their last tokens.
/// Holds the model's mutex.
Result<PassId> start_pass(std::span<Session::Impl* const> sessions) {
  std::array<Row, kMostChoices> rows;
  std::array<std::span<const PageId>, kMostChoices> page_tables;
  std::array<Choice, kMostChoices> choices;
  const std::size_t n = sessions.size();
  for (std::size_t i = 0; i < n; ++i) {
    Session::Impl& session = *sessions[i];
    const bool follows = session.ahead != 0;
    const int position = static_cast<int>(session.tokens.size()) - (follows ? 0 : 1);
    INLAY_TRY(session.prepare_pages(position + 1 - session.evaluated));
    rows[i] = {follows ? kChosenBefore : session.tokens.back(), position, static_cast<std::int32_t>(i), Want::kLogits,
               RowKind::kSingle};
    page_tables[i] = session.pages;
    choices[i] = {session.sampler.options(), session.sampler.random().state()};
  }
  Executor& executor = *sessions.front()->model->executor;
  return executor.start({std::span(rows).first(n), std::span(page_tables).first(n)}, std::span(choices).first(n));
}

void forget_pass(std::span<Session::Impl* const> sessions) {
  for (Session::Impl* session : sessions) session->forget_ahead();
}

/// The tokens of the pass that runs ahead, with the next pass under way. Holds the model's mutex.
Result<void> take_tokens(std::span<Session::Impl* const> sessions, std::span<TokenId> tokens) {
  const PassId current = sessions.front()->ahead;
  const auto next = start_pass(sessions);
  const auto done = sessions.front()->model->executor->chosen(current, tokens);
  if (!next.ok() || !done.ok()) {
    forget_pass(sessions);
    return next.ok() ? done : next.status();
  }
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    Session::Impl& session = *sessions[i];
    session.evaluated = static_cast<int>(session.tokens.size());
    session.append(tokens.subspan(i, 1));
    session.sampler.skip();
    session.ahead = *next;
  }
  return {};
}

/// Whether a pass of the sessions' last tokens is all that is missing for the next ones.
bool miss_one_pass(std::span<Session::Impl* const> sessions) {
  return std::all_of(sessions.begin(), sessions.end(), [](const Session::Impl* session) {
    return static_cast<std::size_t>(session->evaluated) + 1 == session->tokens.size();
  });
}

/// Starts a pass that runs ahead of the sessions, none of which has one. Holds the model's mutex.
Result<void> start_ahead(std::span<Session::Impl* const> sessions) {
  const auto started = start_pass(sessions);
  if (!started.ok()) {
    forget_pass(sessions);
    return started.status();
  }
  for (Session::Impl* session : sessions) session->ahead = *started;
  return {};
}

}  // namespace

bool Stepper::takes(std::span<Session::Impl* const> sessions) {
  const Model::Impl& model = *sessions.front()->model;
  const auto most = static_cast<std::size_t>(std::min(kMostChoices, model.executor_options.batch_rows));
  return model.executor->chooses_tokens() && sessions.size() <= most &&
         std::none_of(sessions.begin(), sessions.end(),
                      [](const Session::Impl* session) { return session->sampler.penalises(); });
}

/// Whether they took the last step, too; now they did.
bool Stepper::step_again(std::span<Session::Impl* const> sessions) {
  decltype(latest_) now{};
  std::copy(sessions.begin(), sessions.end(), now.begin());
  return std::exchange(latest_, now) == now;
}

Result<void> Stepper::step(std::span<Session::Impl* const> sessions, std::span<TokenId> tokens) {
  Model::Impl& model = *sessions.front()->model;
  bool again = false;
  {
    const std::lock_guard lock(model.mutex);
    again = model.stepper.step_again(sessions);
    if (again && run_ahead(sessions, model.executor->latest_pass())) return take_tokens(sessions, tokens);
  }
  for (Session::Impl* session : sessions) session->settle();
  if (again && miss_one_pass(sessions)) {
    const std::lock_guard lock(model.mutex);
    INLAY_TRY(start_ahead(sessions));
    return take_tokens(sessions, tokens);
  }
  INLAY_TRY(Scheduler::evaluate(sessions));
  for (std::size_t i = 0; i < sessions.size(); ++i) tokens[i] = sessions[i]->sample_next();
  if (!again) return {};
  const std::lock_guard lock(model.mutex);
  (void)start_ahead(sessions);  // if it fails, the next step tries again, and reports that
  return {};
}

void Stepper::forget(const Session::Impl* session) noexcept {
  if (std::find(latest_.begin(), latest_.end(), session) != latest_.end()) latest_ = {};
}

}  // namespace inlay
