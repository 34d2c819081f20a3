// Where a chosen token goes: to the row, for the pass that follows, and to the host.
#pragma once

#include "cuda/pass_state.hpp"

namespace inlay::cuda {

/// The token of the i-th of n rows that want one. By one thread for each row, which is the only one of the pass to touch
/// the row and its count; the first row's counts for the rows that are not there.
__device__ __forceinline__ void hand_out(const PassState& state, int i, int n, int token) {
  PassRow& row = state.rows[state.logit_rows[i]];
  row.token = token;
  ++row.position;
  const unsigned pass = state.n_chosen[i]++;
  state.host_tokens[pass % kChoiceRing * kLogitRows + i] = token;
  if (i != 0) return;
  for (int other = n; other < kLogitRows; ++other) ++state.n_chosen[other];
}

}  // namespace inlay::cuda
