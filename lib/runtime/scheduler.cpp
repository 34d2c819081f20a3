#include "runtime/scheduler.hpp"

#include <algorithm>
#include <mutex>

#include "base/guard.hpp"
#include "base/try.hpp"
#include "runtime/session_impl.hpp"

namespace inlay {
namespace {

int pending(const Session::Impl& session) { return static_cast<int>(session.tokens.size()) - session.evaluated; }

Result<void> check_cancelled(std::span<Session::Impl* const> sessions) {
  for (Session::Impl* session : sessions) {
    if (session->take_cancel()) return Status(StatusCode::kCancelled, "the session was cancelled");
  }
  return {};
}

}  // namespace

/// Appends up to `room` pending rows of the session.
Result<void> Scheduler::add_rows(Session::Impl& session, int room) {
  const int n = std::min(room, pending(session));
  INLAY_TRY(session.prepare_pages(n));
  const auto sequence = static_cast<std::int32_t>(sessions_.size());
  for (int i = 0; i < n; ++i) {
    const int position = session.evaluated + i;
    const auto index = static_cast<std::size_t>(position);
    const bool last = index + 1 == session.tokens.size();
    rows_.push_back(
        {session.tokens[index], position, sequence, last ? Want::kLogits : Want::kKvOnly, session.kinds[index]});
    if (last) logits_.push_back(session.logits.data());
  }
  sessions_.push_back(&session);
  counts_.push_back(n);
  page_tables_.emplace_back(session.pages);
  return {};
}

/// Takes the pending rows of as many sessions as fit, in order.
Result<void> Scheduler::fill_chunk(std::span<Session::Impl* const> sessions) {
  rows_.clear(), sessions_.clear(), counts_.clear(), page_tables_.clear(), logits_.clear();
  for (Session::Impl* session : sessions) {
    const int room = session->model->executor_options.batch_rows - static_cast<int>(rows_.size());
    if (room == 0) break;
    if (pending(*session) > 0) INLAY_TRY(add_rows(*session, room));
  }
  return {};
}

Result<void> Scheduler::run_chunks(std::span<Session::Impl* const> sessions) {
  Executor& executor = *sessions.front()->model->executor;
  cancels_.clear();
  for (const Session::Impl* session : sessions) cancels_.push_back(&session->cancelled);
  while (true) {
    INLAY_TRY(check_cancelled(sessions));
    INLAY_TRY(fill_chunk(sessions));
    if (rows_.empty()) return {};
    const auto done = executor.forward({rows_, page_tables_, cancels_}, {logits_});
    if (done.code() == StatusCode::kCancelled) INLAY_TRY(check_cancelled(sessions));  // takes the cancel
    INLAY_TRY(done);
    for (std::size_t i = 0; i < sessions_.size(); ++i) sessions_[i]->evaluated += counts_[i];
  }
}

Result<void> Scheduler::evaluate(std::span<Session::Impl* const> sessions) {
  Model::Impl& model = *sessions.front()->model;
  const std::lock_guard lock(model.mutex);
  std::vector<int>& before = model.scheduler.evaluated_before_;
  before.clear();
  for (const Session::Impl* session : sessions) before.push_back(session->evaluated);
  const Result<void> done = guard([&] { return model.scheduler.run_chunks(sessions); });
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    Session::Impl& session = *sessions[i];
    if (done.ok()) {
      session.logits_valid = true;
    } else {
      session.restore(session.tokens.size(), before[i]);
    }
  }
  return done;
}

}  // namespace inlay
