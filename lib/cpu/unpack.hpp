// Unpack<Format, Isa>: how the matmul shape (kernels/matmul.inl) reads weights.
#pragma once

#include <cstddef>

#include "cpu/isa_code.hpp"
#include "quant/formats.hpp"

namespace inlay::cpu {
namespace {

// Quantised formats have, per instruction set, one UnpackKind for blocks of 32 and one for blocks of 256 weights:
//   kWeights, kBytes      of a step: one block, or several where a register holds more
//   kChunks, kChunkWeights  a step is read in chunks of a register
//   Tail                  the UnpackKind of the blocks that are left at the end of a row
//   head(blocks)          the scales of a step
//   chunk<i>(head, blocks)  weights of a chunk; its dot(x) gives their scaled products with activations in float lanes
//   count<i>(chunk, head)  adds the chunk to the sums of quants, which finish multiplies with the activations' offsets
//   load_activations, activation_scales   of a chunk
//   finish(head, dots, offsets, sums, total)  total + what the step adds to the dot product
template <class Format, class Isa, int kBlockWeights>
struct UnpackKind;

/// Float formats: a register of weights, or its first n.
template <class Isa>
struct UnpackKind<F32, Isa, 1> {
  static INLAY_INLINE typename Isa::Vec load(const std::byte* p) {
    return Isa::load(reinterpret_cast<const float*>(p));
  }
  static INLAY_INLINE typename Isa::Vec load(const std::byte* p, int n) {
    return Isa::load(reinterpret_cast<const float*>(p), n);
  }
};
template <class Isa>
struct UnpackKind<F16, Isa, 1> {
  static INLAY_INLINE typename Isa::Vec load(const std::byte* p) { return Isa::load_half(p); }
  static INLAY_INLINE typename Isa::Vec load(const std::byte* p, int n) { return Isa::load_half(p, n); }
};
template <class Isa>
struct UnpackKind<BF16, Isa, 1> {
  static INLAY_INLINE typename Isa::Vec load(const std::byte* p) { return Isa::load_bfloat16(p); }
  static INLAY_INLINE typename Isa::Vec load(const std::byte* p, int n) { return Isa::load_bfloat16(p, n); }
};

template <class FormatT, class IsaT>
struct Unpack : UnpackKind<FormatT, IsaT, FormatT::block_weights> {
  using Format = FormatT;
  using Isa = IsaT;
};

}  // namespace
}  // namespace inlay::cpu
