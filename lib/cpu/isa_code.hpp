// What code that is compiled for an instruction set is written with. Only table_<isa>.cpp may include this header and
// the others that build on it: everything is in an anonymous namespace, so that no symbol of theirs is weak. A weak
// function compiled for AVX-512 could be the one that the linker keeps for the AVX2 path.
// For the same reason this code calls no inline function of the standard library or of other headers.
#pragma once

#include <cstddef>
#include <cstdint>

#define INLAY_INLINE inline __attribute__((always_inline))
#define INLAY_INLINE_LAMBDA __attribute__((always_inline))

namespace inlay::cpu {
namespace {

template <int kValue>
struct Index {
  static constexpr int value = kValue;
};

template <int kFirst, int kCount, class Body>
INLAY_INLINE void unroll_from(const Body& body) {
  if constexpr (kFirst < kCount) {
    body(Index<kFirst>{});
    unroll_from<kFirst + 1, kCount>(body);
  }
}

/// body(Index<0>{}) ... body(Index<kCount - 1>{}): arrays indexed by the value stay in registers.
template <int kCount, class Body>
INLAY_INLINE void unroll(const Body& body) {
  unroll_from<0, kCount>(body);
}

INLAY_INLINE std::size_t offset_of(int row, int row_size) {
  return static_cast<std::size_t>(row) * static_cast<std::size_t>(row_size);
}

}  // namespace
}  // namespace inlay::cpu
