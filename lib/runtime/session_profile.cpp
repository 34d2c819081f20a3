// Session::profile.
#include <mutex>

#include "base/guard.hpp"
#include "base/try.hpp"
#include "runtime/session_impl.hpp"

namespace inlay {

const char* to_string(PassStep step) noexcept {
  switch (step) {
    case PassStep::kEmbed:
      return "embed";
    case PassStep::kQkv:
      return "qkv";
    case PassStep::kAttend:
      return "attend";
    case PassStep::kProject:
      return "project";
    case PassStep::kGateUp:
      return "gate+up";
    case PassStep::kDown:
      return "down";
    case PassStep::kHead:
      return "head";
    case PassStep::kChoose:
      return "choose";
  }
  return "unknown step";
}

Result<PassProfile> Session::Impl::profile() {
  if (tokens.empty()) return Status(StatusCode::kInvalidArgument, "profile: the session has no tokens yet");
  if (take_cancel()) return Status(StatusCode::kCancelled, "the session was cancelled");
  settle();
  const int last = static_cast<int>(tokens.size()) - 1;
  if (evaluated < last) INLAY_TRY(current_logits());  // a session that was restored
  const std::lock_guard lock(model->mutex);
  // The last token waits for its evaluation, as after a rewind: what the passes make of it is of no consequence.
  restore(tokens.size(), last);
  auto done = guard([&]() -> Result<PassProfile> {
    INLAY_TRY(prepare_pages(1));
    const Row row{tokens.back(), last, 0, Want::kLogits, RowKind::kSingle};
    const std::span<const PageId> table = pages;
    const std::atomic<bool>* const cancel = &cancelled;
    return model->executor->profile({{&row, 1}, {&table, 1}, {&cancel, 1}});
  });
  restore(tokens.size(), last);
  if (done.code() == StatusCode::kCancelled) cancelled.store(false);
  return done;
}

}  // namespace inlay
