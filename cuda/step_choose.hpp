// The last step of a pass that chooses its tokens on the device.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/pass_state.hpp"

namespace inlay::cuda {

struct ChooseArgs {
  PassState state;
  unsigned long long* best = nullptr;  // [n] MultiplyArgs::best of the head
  int n = 0;                           // rows that want a token, at most kLogitRows
};

/// Gives each row the highest of its logits, the lowest id among equals, as its token at the next position, and the
/// host too. `best` is zeros then, as the next head wants it. Asynchronous. The state of the pass is read before the
/// previous kernel has ended: whatever wrote it has ended before that one started.
cudaError_t choose(const ChooseArgs& args, cudaStream_t stream);

}  // namespace inlay::cuda
