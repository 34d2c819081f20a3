#include "runtime/backend.hpp"

namespace inlay {

Result<void> report_progress(const ProgressCallback& progress, float fraction) {
  if (!progress || progress(fraction) == Flow::kContinue) return {};
  return Status(StatusCode::kCancelled, "opening was stopped by the progress callback");
}

Result<PassId> Executor::start(const RowBatch& /*batch*/) {
  return Status(StatusCode::kInternal, "this device chooses no tokens");
}

Result<TokenId> Executor::chosen(PassId /*pass*/) {
  return Status(StatusCode::kInternal, "this device chooses no tokens");
}

}  // namespace inlay
