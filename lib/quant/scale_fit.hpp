// Chooses the scale and offset of a group of 16 or 32 weights.
#pragma once

#include <cstdint>
#include <span>

namespace inlay {

/// The nearest integer to x / scale in [low, high]; 0, or what is nearest to it, for a zero scale.
[[nodiscard]] int nearest_level(float x, float scale, int low, int high);

/// The same for a group, of x - offset.
void nearest_levels(std::span<const float> x, float scale, float offset, int low, int high, int* levels);

/// What the chosen numbers will be stored as.
enum class StoredAs : std::uint8_t { kFloat, kHalf };

/// The scale s for which x ~ s * q, low <= q <= high, low < 0, has about the least squared error. The weight of largest
/// magnitude gets a level near `low`, so s may be negative. 0 for zeros.
[[nodiscard]] float fit_scale(std::span<const float> x, int low, int high, StoredAs stored);

/// x ~ scale * q + offset, 0 <= q <= high.
struct AffineFit {
  float scale = 0.0F;  // >= 0
  float offset = 0.0F;
};

enum class OffsetSign : std::uint8_t { kAny, kNotPositive };

/// The fit of about the least squared error.
[[nodiscard]] AffineFit fit_affine(std::span<const float> x, int high, OffsetSign sign, StoredAs stored);

/// Sums over a group of weights x and their nearest levels q.
struct LevelSums {
  double n = 0.0;
  double q = 0.0;
  double qq = 0.0;
  double x = 0.0;
  double xq = 0.0;
};
[[nodiscard]] LevelSums level_sums(std::span<const float> x, float scale, float offset, int low, int high);

/// The squared error of x ~ scale * q + offset with the nearest levels.
[[nodiscard]] float squared_error(std::span<const float> x, float scale, float offset, int low, int high);

}  // namespace inlay
