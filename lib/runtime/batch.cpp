#include <algorithm>
#include <iterator>
#include <mutex>
#include <string>

#include <inlay/session.hpp>

#include "base/guard.hpp"
#include "base/try.hpp"
#include "runtime/scheduler.hpp"
#include "runtime/session_impl.hpp"
#include "runtime/stepper.hpp"

namespace inlay {
namespace {

/// A session as it was before the run.
struct Before {
  Session::Impl* session = nullptr;
  std::size_t length = 0;
  int evaluated = 0;
  bool logits_valid = false;
};

void undo(std::span<const Before> all) {
  if (all.empty()) return;
  const std::lock_guard lock(all.front().session->model->mutex);
  for (const Before& before : all) {
    before.session->restore(before.length, before.evaluated);
    before.session->logits_valid = before.logits_valid;
  }
}

Result<void> check_sessions(std::span<Session::Impl* const> sessions) {
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    if (sessions[i]->model != sessions[0]->model) {
      return Status(StatusCode::kInvalidArgument,
                    "batch: entry " + std::to_string(i) + " is a session of another model");
    }
  }
  std::vector<Session::Impl*> sorted(sessions.begin(), sessions.end());
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    return Status(StatusCode::kInvalidArgument, "batch: a session is queued twice");
  }
  return {};
}

Result<void> take_cancels(std::span<Session::Impl* const> sessions) {
  for (Session::Impl* session : sessions) {
    if (session->take_cancel()) return Status(StatusCode::kCancelled, "a session of the batch was cancelled");
  }
  return {};
}

Result<void> evaluate_or_undo(std::span<Session::Impl* const> sessions, std::span<const Before> before) {
  if (sessions.empty()) return {};
  const Result<void> done = Scheduler::evaluate(sessions);
  if (!done.ok()) undo(before);
  return done;
}

}  // namespace

Result<void> Batch::prefill(Session& session, std::span<const TokenId> tokens) noexcept {
  return guard([&]() -> Result<void> {
    entries_.push_back({&session, EntryKind::kPrefill, {tokens.begin(), tokens.end()}});
    return {};
  });
}

Result<void> Batch::step(Session& session) noexcept {
  return guard([&]() -> Result<void> {
    entries_.push_back({&session, EntryKind::kStep, {}});
    return {};
  });
}

Result<std::vector<TokenId>> Batch::run() noexcept {
  return guard([&]() -> Result<std::vector<TokenId>> {
    const std::vector<Entry> entries = std::exchange(entries_, {});
    if (entries.empty()) return std::vector<TokenId>{};
    std::vector<Session::Impl*> sessions;
    for (const Entry& entry : entries) {
      Session::Impl* session = entry.session->impl();
      sessions.push_back(session);
      INLAY_TRY(entry.kind == EntryKind::kStep ? session->check_step() : session->check_append(entry.tokens));
    }
    INLAY_TRY(check_sessions(sessions));
    INLAY_TRY(take_cancels(sessions));
    std::vector<TokenId> sampled(entries.size(), -1);
    const bool only_steps =
        std::all_of(entries.begin(), entries.end(), [](const Entry& entry) { return entry.kind == EntryKind::kStep; });
    if (only_steps && Stepper::takes(sessions)) {
      INLAY_TRY(Stepper::step(sessions, sampled));
      return sampled;
    }
    std::vector<Before> before;
    for (Session::Impl* session : sessions) {
      session->settle();
      before.push_back({session, session->tokens.size(), session->evaluated, session->logits_valid});
    }
    std::vector<Session::Impl*> to_evaluate;  // a step whose logits are known already needs no rows
    to_evaluate.reserve(sessions.size());     // nothing fails between here and evaluate_or_undo
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].kind == EntryKind::kPrefill) sessions[i]->append(entries[i].tokens);
    }
    std::copy_if(sessions.begin(), sessions.end(), std::back_inserter(to_evaluate),
                 [](const Session::Impl* session) { return !session->logits_valid; });
    INLAY_TRY(evaluate_or_undo(to_evaluate, before));
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].kind == EntryKind::kStep) sampled[i] = sessions[i]->sample_next();
    }
    return sampled;
  });
}

}  // namespace inlay
