// Session::save and Session::restore.
#include <algorithm>
#include <mutex>
#include <string>
#include <utility>

#include "base/try.hpp"
#include "runtime/kv_pages.hpp"
#include "runtime/session_impl.hpp"
#include "runtime/session_state.hpp"

namespace inlay {
namespace {

StateOwner owner_of(const Model::Impl& model) {
  return {model.file_fingerprint, model.executor_options.kv_format, model.executor->page_layout(),
          model.executor->page_bytes(), model.plan.spec.vocab_size};
}

}  // namespace

Result<std::vector<std::byte>> Session::Impl::save_state() {
  settle();
  const std::lock_guard lock(model->mutex);
  const StateOwner owner = owner_of(*model);
  SessionState state;
  state.sampling = sampler.options();
  state.random = sampler.random().state();
  state.tokens = tokens;
  state.kinds = kinds;
  state.n_pages = evaluated / kKvPagePositions;  // what else is in the last page depends on what was there before
  std::vector<std::byte> bytes = begin_state(owner, state);
  std::byte* next = pages_of(bytes, owner, state.n_pages).data();
  for (int i = 0; i < state.n_pages; ++i, next += owner.page_bytes) {
    INLAY_TRY(model->executor->read_page(pages[static_cast<std::size_t>(i)], next));
  }
  seal_state(bytes);
  return bytes;
}

Result<void> Session::Impl::restore_state(std::span<const std::byte> bytes) {
  const StateOwner owner = owner_of(*model);
  INLAY_TRY_ASSIGN(const SessionState state, parse_state(bytes, owner));
  if (state.tokens.size() > static_cast<std::size_t>(context_length)) {
    return Status(StatusCode::kContextFull, "saved session: " + std::to_string(state.tokens.size()) +
                                                " tokens do not fit into a context of " +
                                                std::to_string(context_length));
  }
  Sampler restored(state.sampling, owner.vocab_size);
  restored.set_random(RandomStream(state.random));
  settle();
  const std::lock_guard lock(model->mutex);
  restore(0, 0);
  INLAY_TRY(take_over(state));
  sampler = std::move(restored);
  return {};
}

Result<void> Session::Impl::take_over(const SessionState& state) {
  const std::byte* next = state.pages.data();
  for (int i = 0; i < state.n_pages; ++i, next += model->executor->page_bytes()) {
    pages.push_back(model->pages.take());
    const auto written = model->executor->write_page(pages.back(), next);
    if (!written.ok()) {
      restore(0, 0);
      return written;
    }
  }
  tokens.assign(state.tokens.begin(), state.tokens.end());
  kinds.assign(state.kinds.begin(), state.kinds.end());
  // The last token at least is evaluated again, for its logits.
  evaluated = std::clamp(static_cast<int>(tokens.size()) - 1, 0, state.n_pages * kKvPagePositions);
  return {};
}

}  // namespace inlay
