// Matrices times rows of activations: the one kernel that reads weights. Its epilogue does what follows the product,
// and quantises the result for the next one, so that a layer is five kernels.
#pragma once

#include <cuda_runtime_api.h>

#include <array>

#include "cuda/activations.hpp"
#include "cuda/pass_state.hpp"
#include "cuda/record.hpp"

namespace inlay::cuda {

enum class Epilogue : std::uint8_t {
  kStore,  // out = y
  kAdd,    // out = residual + y
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
  std::byte* relay = nullptr;      // [2][n_kv_heads][row_bytes] the row again, for a step that does not wait; or null
  const float2* rope = nullptr;    // [n_rows, n_pairs] cosine and sine of the rows' positions (EmbedArgs)
  int n_pairs = 0;                 // of a head that are rotated; they are neighbours (weights.hpp)
  float inverse_head_size = 0.0F;  // set by multiply
};

/// How the work is cut: a block has n_groups groups of warps, each with panels of its own; the warps of a group share
/// the records of its panels' rows. Every warp reads the activations of its records, once for all panels.
struct MultiplyShape {
  int warps_of_group = 1;
  int n_groups = 1;  // kGated: an even number, of part 0 and 1 in turn
  int panels_of_group = 1;
  int n_blocks = 1;
  float inverse_warps = 1.0F;   // of a group
  float inverse_panels = 1.0F;  // of a group
  [[nodiscard]] __host__ __device__ int n_warps() const { return warps_of_group * n_groups; }
  [[nodiscard]] __host__ __device__ int n_panels() const { return panels_of_group * n_groups; }
};

/// Of a device.
struct MultiplyLimits {
  int n_processors = 1;
  int shared_bytes = 0;  // that a block can have
};

/// Of kStore and at most kLogitRows rows: each row's highest output, the lowest one among equals, is its token
/// (hand_out.cuh).
struct MultiplyChoice {
  unsigned long long* best = nullptr;  // [n_rows] zeros, and zeros again afterwards; or null, and nothing is chosen
  unsigned* n_arrived = nullptr;       // zero, and zero again afterwards
  PassState state;                     // nothing that was launched since the pass began writes it
};

struct MultiplyArgs {
  std::array<MultiplyPart, 3> parts = {};
  int n_parts = 1;
  // Of two formats that all parts have, where the products of a model have no others: if there is a kernel for both, it
  // is used for all of them. So its instructions stay in the caches of the processors.
  std::array<Format, 2> formats = {Format::kF32, Format::kF32};
  MultiplyShape shape;
  MultiplyLimits limits;
  Epilogue epilogue = Epilogue::kStore;
  const float* x = nullptr;     // [n_rows, n_cols], n_cols a multiple of 4: what matrices of floats are multiplied with
  QuantisedRows quantised_x;    // the same times the norm's weights: what the others are multiplied with
  const float* norm = nullptr;  // [n_cols]: x is normalised first; or null
  const int* row_map = nullptr;  // rows of x to take instead of 0, 1, 2 ...; or null
  // Of one row: it does not wait for the kernels before, but for what they hand over word by word (arrival.cuh).
  bool is_relayed = false;
  float epsilon = 0.0F;
  float inverse_n_cols = 0.0F;  // set by multiply
  int n_rows = 0;
  int n_cols = 0;
  float* out = nullptr;             // [n_rows, out_stride], or null for nothing but quantised_out
  const float* residual = nullptr;  // the same, of kAdd: what is added
  int out_stride = 0;
  // The output times the weights of the norm that follows it, if it is for a quantised matrix. Blocks then have an even
  // number of panels, and the output a multiple of 32 rows.
  QuantisedRows quantised_out;
  const float* next_norm = nullptr;  // [out_stride], or null
  MultiplyChoice choice;
  KvStore kv;
};

/// Cuts the parts of `args`, whose matrices, epilogue and limits are set, and sets their first blocks.
void choose_shape(MultiplyArgs& args);

/// Cuts them as told: at most 16 warps a block, a multiple of panels_unit panels, an even number of groups for kGated,
/// and at most two panels a warp.
void set_shape(MultiplyArgs& args, int warps_of_group, int n_groups, int panels_of_group);

/// The panels of a block are a multiple of this, so that it holds both parts of a gate, and all of the 32 neighbours
/// that are quantised together.
[[nodiscard]] int panels_unit(const MultiplyArgs& args);

/// Of the current device.
cudaError_t read_limits(MultiplyLimits& limits);

/// Once on the current device for the formats of `args`, before the first launch: loads the kernels.
cudaError_t prepare_multiply(const MultiplyArgs& args);

/// Asynchronous. The result of a row does not depend on the other rows.
cudaError_t multiply(MultiplyArgs args, cudaStream_t stream);

}  // namespace inlay::cuda
