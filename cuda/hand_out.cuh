// Where a chosen token goes: to the row, for the pass that follows, and to the host.
#pragma once

#include "cuda/pass_state.hpp"

namespace inlay::cuda {

/// The i-th of n rows that want a token. One thread has each row, and is the only one of the pass to touch the row and
/// its count, so it may make this before the token is known: what wrote them ended before the pass began.
class TokenPlace {
 public:
  __device__ __forceinline__ TokenPlace(const PassState& state, int i, int n)
      : state_(state), row_(state.rows + state.logit_rows[i]), i_(i), n_(n) {
    position_ = row_->position;
    pass_ = state.n_chosen[i];
  }
  /// Counts for the rows that are not there, too, by the first row's thread.
  __device__ __forceinline__ void hand_out(int token) const {
    state_.host_tokens[pass_ % kChoiceRing * kLogitRows + i_] = token;
    row_->token = token;
    row_->position = position_ + 1;
    state_.n_chosen[i_] = pass_ + 1;
    if (i_ != 0) return;
    for (int other = n_; other < kLogitRows; ++other) ++state_.n_chosen[other];
  }

 private:
  const PassState& state_;
  PassRow* row_;
  int i_;
  int n_;
  int position_;
  unsigned pass_;
};

}  // namespace inlay::cuda
