// The work memory of a forward pass, taken once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/shared_units.hpp"
#include "model/plan.hpp"

namespace inlay::cpu {

/// Rows of the head that are evaluated at once: bounds the memory for logits when many rows want them.
inline constexpr int kHeadRows = 16;

struct BufferOptions {
  int batch_rows = 1;
  int n_parts = 1;
  std::size_t panel_bytes = 0;  // of the largest panel that is made during a pass, 0 when all matrices are packed
  bool has_bulk_rows = false;   // whether the kernels treat them in their own way
  const HostAllocator* allocator = nullptr;
};

/// R: rows of a pass, E, Q, KV, F, V as in plan.hpp; C: the longest input of a matrix, max(E, Q, F).
struct Buffers {
  Buffers(const ModelSpec& spec, const BufferOptions& options);

  AlignedBuffer<float> x;                  // [R, E] the residual stream
  AlignedBuffer<float> normalized;         // [R, E] input of qkv, gate, up and head
  AlignedBuffer<float> query;              // [R, Q]
  AlignedBuffer<float> key;                // [R, KV]
  AlignedBuffer<float> value;              // [R, KV]
  AlignedBuffer<float> attended;           // [R, Q] input of the output projection
  AlignedBuffer<float> gate;               // [R, F], then activated: input of down
  AlignedBuffer<float> up;                 // [R, F]
  AlignedBuffer<float> projected;          // [R, E] what is added to x
  AlignedBuffer<float> logits;             // [min(R, kHeadRows), V]
  AlignedBuffer<float> cosines;            // [R, n_pairs]
  AlignedBuffer<float> sines;              // [R, n_pairs]
  AlignedBuffer<ActivationBlock> blocks;   // [R * C / 32] the input of the current step's matrices, quantised
  AlignedBuffer<BulkBlock> bulk;           // [bulk_blocks(R, C)] the same for bulk rows
  AlignedBuffer<std::byte> panel_scratch;  // [n_parts, panel_stride] where panels of matrices as in the file are made
  std::size_t panel_stride = 0;
  AlignedBuffer<float> totals;       // [n_parts, matmul_totals(R)]
  AlignedBuffer<float> attention;    // [n_parts, AttentionMemory::part_floats]
  std::vector<ShareCursor> cursors;  // [n_parts]
  int batch_rows;

  /// What the constructor takes, without taking it.
  static std::uint64_t bytes(const ModelSpec& spec, const BufferOptions& options);
};

}  // namespace inlay::cpu
