// Chooses the scale and offset of a group of weights.
#pragma once

#include <span>

namespace inlay {

/// The nearest integer to x / scale in [low, high]; 0, or what is nearest to it, for a zero scale.
[[nodiscard]] int nearest_level(float x, float scale, int low, int high);

/// The scale s for which x ~ s * q, low <= q <= high, low < 0, has about the least squared error. The weight of largest
/// magnitude gets a level near `low`, so s may be negative. 0 for zeros.
[[nodiscard]] float fit_scale(std::span<const float> x, int low, int high);

/// x ~ scale * q + offset, 0 <= q <= high.
struct AffineFit {
  float scale = 0.0F;  // >= 0
  float offset = 0.0F;
};

enum class OffsetSign { kAny, kNotPositive };

/// The fit of about the least squared error.
[[nodiscard]] AffineFit fit_affine(std::span<const float> x, int high, OffsetSign sign);

}  // namespace inlay
