// The instances of the multiply kernel, for multiply.cpp.
#pragma once

#include "cuda/multiply.hpp"

namespace inlay::cuda {

inline constexpr int kMostWarps = 16;  // of a block

/// Activations of a record in shared memory: words, then sums (activations.hpp).
inline constexpr int kStagedBytes = kRecordColumns / kStepOfInput * (kStepBytes + static_cast<int>(sizeof(StepSums)));

/// Bytes of the classes' sums of a panel and a warp (SumStore), and of how many warps they are added up at once.
inline constexpr int kApartBytes = kPanelRows * kClasses * static_cast<int>(sizeof(float));
inline constexpr int kApartWarps = 8;

/// Where the block keeps what in dynamic shared memory, in bytes.
struct SharedLayout {
  int partial = 0;      // float [panel of the block][token][row][warp_stride], if `apart` is 0
  int warp_stride = 0;  // of a single token an odd number of fours: of eight neighbours no two are in the same banks
  int n_fours = 0;      // of warps, filled up with zeros
  int apart = 0;        // of a single token: float [panel of the block][apart_warps][row][class] (SumStore), or 0
  int apart_warps = 0;  // of a group, filled up with zeros to a multiple of kApartWarps
  int squares = 0;      // float [token][warp_stride] of the first group, of a normalised input
  int places = 0;       // OutputPlace [threads with an output]
  int n_places = 0;
  int staged = 0;    // of a single token of integers: [warp][n_staged][kStagedBytes] (StagedInput)
  int n_staged = 0;  // records
  int n_rounds = 1;  // in which the threads make the outputs
  int slots = 0;     // [warp][n_slots] of records on their way (RecordStream)
  int slot_bytes = 0;
  int n_slots = 0;
  int n_ahead = 0;  // of a single token: records that may be missing when the next of the first is called for; 0 or 1
  int bytes = 0;
};

/// All that an output of a thread needs to know besides the product, most of it found out before the kernel's input is
/// there. It waits in shared memory. Pointers are null where there is nothing to do.
struct alignas(16) OutputPlace {
  int sums = 0;     // of the row of the panel, for the token: address in shared memory
  int squares = 0;  // of the token: the same
  float bias = 0.0F;
  float second_bias = 0.0F;       // of a gate's other part
  float* out = nullptr;           // the output
  std::byte* word = nullptr;      // of its quantised parts (word_of_lane)
  StepSums* step_sums = nullptr;  // those of its step
  union {
    std::byte* kv = nullptr;   // kQkv: the position's head in the cache
    unsigned long long* best;  // kStore: of the row (MultiplyChoice::best)
  };
  std::byte* kv_relay = nullptr;  // kQkv: KvStore::relay
  const float* residual = nullptr;
  const float2* angle = nullptr;  // kQkv: of the pair
  float next_norm = 1.0F;
  int col = 0;  // kQkv: of the head; kStore: of the row
  // What the kernels before have left, put there when it is known (fetch_input).
  float old = 0.0F;            // kAdd: what is added to
  float2 turn = {1.0F, 0.0F};  // kQkv: cosine and sine of the angle
  int second_sums = 0;         // of a gate's other part: as `sums`
};

using MultiplyKernel = void (*)(MultiplyArgs, SharedLayout);

/// Kernels that take so many rows of a pass at a time, for parts of two formats or of one; null where there is none.
MultiplyKernel multiply_kernel_1(Format first, Format second);
MultiplyKernel multiply_kernel_4(Format first, Format second);
MultiplyKernel multiply_kernel_8(Format first, Format second);

/// For parts of any formats, a row at a time.
MultiplyKernel multiply_kernel_any();

}  // namespace inlay::cuda
