// SplitMix64 (Steele, Lea, Flood 2014) as plain functions, which a device runs as well: the state is a counter.
#pragma once

#include <cstdint>

namespace inlay {

/// What a draw adds to the state before it uses it.
inline constexpr std::uint64_t kSplitMixStep = 0x9E3779B97F4A7C15;

/// The number that belongs to a state: in [0, 1), of 53 random bits.
constexpr double split_mix_uniform(std::uint64_t state) noexcept {
  state = (state ^ (state >> 30U)) * 0xBF58476D1CE4E5B9;
  state = (state ^ (state >> 27U)) * 0x94D049BB133111EB;
  state ^= state >> 31U;
  return static_cast<double>(state >> 11U) * 0x1.0p-53;
}

}  // namespace inlay
