// The last step of a pass that chooses its tokens on the device.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/pass_state.hpp"

namespace inlay::cuda {

struct ChooseArgs {
  PassState state;
  const float* logits = nullptr;  // [n, vocab_size]
  int vocab_size = 0;
  int n = 0;  // rows that want a token, at most kLogitRows
};

/// Takes the highest logit of each row, the lowest id among equals, and gives it to the row as its token at the next
/// position, and to the host. Asynchronous.
cudaError_t choose(const ChooseArgs& args, cudaStream_t stream);

}  // namespace inlay::cuda
