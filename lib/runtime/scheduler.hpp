// Turns the pending tokens of sessions into forward passes.
#pragma once

#include <atomic>
#include <span>
#include <vector>

#include <inlay/result.hpp>
#include <inlay/session.hpp>

#include "runtime/backend.hpp"

namespace inlay {

/// One for each model. Keeps its work lists between calls, so that a decode step allocates nothing.
class Scheduler {
 public:
  /// Evaluates all tokens of the sessions that are not evaluated yet, in chunks of the model's batch_rows rows, which
  /// rows of several sessions share; afterwards every session's logits are valid. All sessions are of one model and
  /// none stands twice. On failure every session's `evaluated` is what it was. Takes the model's mutex. kCancelled when
  /// one of the sessions was cancelled, checked before every chunk and by the device.
  static Result<void> evaluate(std::span<Session::Impl* const> sessions);

 private:
  Result<void> run_chunks(std::span<Session::Impl* const> sessions);
  Result<void> fill_chunk(std::span<Session::Impl* const> sessions);
  Result<void> add_rows(Session::Impl& session, int room);

  // One forward pass:
  std::vector<Row> rows_;
  std::vector<Session::Impl*> sessions_;  // by Row::sequence
  std::vector<int> counts_;               // rows of each
  std::vector<std::span<const PageId>> page_tables_;
  std::vector<float*> logits_;
  // One call:
  std::vector<int> evaluated_before_;
  std::vector<const std::atomic<bool>*> cancels_;
};

}  // namespace inlay
