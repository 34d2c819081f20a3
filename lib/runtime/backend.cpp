#include "runtime/backend.hpp"

namespace inlay {

Result<void> report_progress(const ProgressCallback& progress, float fraction) {
  if (!progress || progress(fraction) == Flow::kContinue) return {};
  return Status(StatusCode::kCancelled, "opening was stopped by the progress callback");
}

Result<PassId> Executor::start(const RowBatch& /*batch*/, std::span<const Choice> /*choices*/) {
  return Status(StatusCode::kInternal, "this device chooses no tokens");
}

Result<void> Executor::chosen(PassId /*pass*/, std::span<TokenId> /*tokens*/) {
  return Status(StatusCode::kInternal, "this device chooses no tokens");
}

Result<PassProfile> Executor::profile(const RowBatch& /*batch*/) {
  return Status(StatusCode::kUnsupported, "profile: the model's device does not time its steps; CUDA devices do");
}

namespace {

Status no_pages() { return {StatusCode::kUnsupported, "this device does not give its pages away"}; }

}  // namespace

Result<void> Executor::read_page(PageId /*page*/, std::byte* /*out*/) { return no_pages(); }
Result<void> Executor::write_page(PageId /*page*/, const std::byte* /*bytes*/) { return no_pages(); }

}  // namespace inlay
