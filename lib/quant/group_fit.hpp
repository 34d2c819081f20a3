// Chooses the scales of a super block of 256 weights, whose groups have scales that are small multiples of the block's.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/half.hpp"
#include "quant/formats.hpp"
#include "quant/packed_scales.hpp"
#include "quant/scale_fit.hpp"

namespace inlay {

using SuperWeights = std::array<float, kSuperBlock>;

template <int Groups>
[[nodiscard]] std::span<const float> group_of(const SuperWeights& x, int group) {
  constexpr std::size_t kGroup = kSuperBlock / Groups;
  return std::span(x).subspan(static_cast<std::size_t>(group) * kGroup, kGroup);
}

/// The signed scales of the groups, each a multiple of d.
template <int Groups>
struct GroupScales {
  std::uint16_t d = 0;
  std::array<int, Groups> levels = {};
  [[nodiscard]] Line line(int group) const { return {half_to_float(d) * static_cast<float>(levels[group]), 0.0F}; }
};

/// Scales for weights in [low, high], as levels in [scale_low, scale_high]. For Groups = 16.
template <int Groups>
[[nodiscard]] GroupScales<Groups> fit_group_scales(const SuperWeights& x, int low, int high, int scale_low,
                                                   int scale_high);

/// The scales and minimums of the groups, each a multiple of d or dmin.
template <int Groups>
struct GroupLines {
  std::uint16_t d = 0;
  std::uint16_t dmin = 0;
  std::array<ScaleAndMinimum, Groups> levels = {};
  [[nodiscard]] Line line(int group) const {
    return {half_to_float(d) * static_cast<float>(levels[group].scale),
            -half_to_float(dmin) * static_cast<float>(levels[group].minimum)};
  }
};

/// Lines for weights in [0, high], as levels in [0, scale_high]. For Groups = 8 and 16.
template <int Groups>
[[nodiscard]] GroupLines<Groups> fit_group_lines(const SuperWeights& x, int high, int scale_high);

}  // namespace inlay
