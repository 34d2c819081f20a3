// Four floats at a time, with what every x86-64 and ARM64 has: enough to make encoders bearable without code per
// instruction set. All operations are those of single floats: the same bits everywhere.
#pragma once

#include <algorithm>

namespace inlay {

using Lanes = float __attribute__((vector_size(16)));
inline constexpr int kLanes = 4;

inline Lanes broadcast(float value) { return Lanes{value, value, value, value}; }
inline Lanes smaller(Lanes a, Lanes b) { return a < b ? a : b; }
inline Lanes larger(Lanes a, Lanes b) { return a > b ? a : b; }
inline Lanes magnitude(Lanes a) { return larger(a, -a); }

/// To the nearest integer, ties to even, for |a| < 2^22.
inline Lanes rounded(Lanes a) {
  const Lanes shift = broadcast(0x1.8p23F);
  return (a + shift) - shift;
}

inline float sum(Lanes a) { return (a[0] + a[2]) + (a[1] + a[3]); }
inline float largest(Lanes a) { return std::max(std::max(a[0], a[2]), std::max(a[1], a[3])); }
inline float smallest(Lanes a) { return std::min(std::min(a[0], a[2]), std::min(a[1], a[3])); }

}  // namespace inlay
