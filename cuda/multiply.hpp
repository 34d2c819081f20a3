// Matrices times rows of activations: the one kernel that reads weights. It normalises and quantises its input itself,
// and its epilogue does what follows the product, so that a layer is five kernels.
#pragma once

#include <cuda_runtime_api.h>

#include <array>

#include "cuda/pass_state.hpp"
#include "cuda/record.hpp"

namespace inlay::cuda {

enum class Epilogue : std::uint8_t {
  kStore,  // out = y
  kAdd,    // out += y
  kGated,  // out = silu(y of part 0), the one Activation there is, * (y of part 1)
  kQkv,    // part 0 rotated: out; part 1 rotated and part 2: into the KV pages
};

/// One of the matrices that read the same input.
struct MultiplyPart {
  DeviceMatrix matrix;
  const float* bias = nullptr;  // [n_rows], or null
  int first_block = 0;          // of the grid; unused by kGated, whose blocks hold panels of both parts
};

/// What kQkv needs besides.
struct KvStore {
  PassState state;
  KvLayout layout;
  int layer = 0;
  int n_pairs = 0;  // of a head that are rotated; they are neighbours (weights.hpp)
};

/// How the work is cut: a block has panels_per_block * warps_per_panel warps.
struct MultiplyShape {
  int panels_per_block = 1;
  int warps_per_panel = 1;
  int n_blocks = 1;
};

struct MultiplyArgs {
  std::array<MultiplyPart, 3> parts = {};
  int n_parts = 1;
  MultiplyShape shape;
  Epilogue epilogue = Epilogue::kStore;
  const float* x = nullptr;      // [n_rows, n_cols], n_cols a multiple of 8
  const float* norm = nullptr;   // [n_cols]: x is normalised first; or null
  const int* row_map = nullptr;  // rows of x to take instead of 0, 1, 2 ...; or null
  float epsilon = 0.0F;
  float inverse_n_cols = 0.0F;  // set by multiply
  int n_rows = 0;
  int n_cols = 0;
  float* out = nullptr;  // [n_rows, out_stride]
  int out_stride = 0;
  KvStore kv;
};

/// Whether the kernel can take so many columns: a tile of one token must fit into a block's shared memory.
[[nodiscard]] bool multiply_fits(Format format, int n_cols);

/// Cuts the parts of `args`, whose matrices and epilogue are set, and sets their first blocks.
void choose_shape(MultiplyArgs& args, int n_processors);

/// Cuts them as told: at most 16 warps a block, an even number of panels for kGated.
void set_shape(MultiplyArgs& args, int warps_per_panel, int panels_per_block);

/// Once for each device, before the first launch.
cudaError_t prepare_multiply();

/// Asynchronous. The result of a row does not depend on the other rows.
cudaError_t multiply(MultiplyArgs args, cudaStream_t stream);

}  // namespace inlay::cuda
