// The instances of the multiply kernel, for multiply.cpp.
#pragma once

#include "cuda/multiply.hpp"

namespace inlay::cuda {

inline constexpr int kScratchBytes = 512;  // of a warp

/// Where the block keeps what in dynamic shared memory, in bytes.
struct SharedLayout {
  int partial = 0;  // float [panel of the block][token][row][warp_stride]
  int warp_stride = 0;
  int squares = 0;  // float [token][warp_stride] of the first group, of a normalised input
  int places = 0;   // OutputPlace [threads with an output]
  int n_places = 0;
  int scratch = 0;   // [warp][kScratchBytes]
  int n_rounds = 1;  // in which the threads make the outputs
  int slots = 0;     // [warp][n_slots] of records on their way
  int slot_bytes = 0;
  int n_slots = 0;
  int bytes = 0;
};

/// All that an output of a thread needs to know besides the product, found out before the kernel's input is there. It
/// waits in shared memory.
struct alignas(16) OutputPlace {
  int sums = 0;   // panel of the block times the tokens, and the token
  int token = 0;  // of the block
  int out = -1;   // from the first output on; or none
  int step = -1;  // from the first quantised one on; or none
  float bias = 0.0F;
  float second_bias = 0.0F;  // of a gate's other part
  float next_norm = 1.0F;
  int col = 0;              // kQkv: of the head
  std::byte* kv = nullptr;  // kQkv: the position's head in the cache; or none
  int angle = -1;           // kQkv: from the first pair on; or none
};

using MultiplyKernel = void (*)(MultiplyArgs, SharedLayout);

/// Kernels that take so many rows of a pass at a time, for parts of two formats or of one; null where there is none.
MultiplyKernel multiply_kernel_1(Format first, Format second);
MultiplyKernel multiply_kernel_4(Format first, Format second);
MultiplyKernel multiply_kernel_8(Format first, Format second);

/// For parts of any formats, a row at a time.
MultiplyKernel multiply_kernel_any();

}  // namespace inlay::cuda
