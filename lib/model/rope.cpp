#include "model/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace inlay {
namespace {

/// The pair (as a fraction) whose wave makes `rotations` turns within the original context (Peng et al. 2023,
/// section 3.2).
double pair_of_rotations(const RopeSpec& rope, double rotations) {
  const double wavelengths = rope.original_context / (rotations * 2.0 * std::numbers::pi);
  return rope.n_pairs * std::log(wavelengths) / std::log(rope.base);
}

/// How much of pair i keeps its trained frequency: 1 for fast pairs, 0 for slow ones, a ramp between them.
class YarnRamp {
 public:
  explicit YarnRamp(const RopeSpec& rope)
      : low_(std::max(0.0, std::floor(pair_of_rotations(rope, rope.beta_fast)))),
        high_(std::min(2.0 * rope.n_pairs - 1.0, std::ceil(pair_of_rotations(rope, rope.beta_slow)))) {}

  [[nodiscard]] double operator()(int pair) const {
    return 1.0 - std::clamp((pair - low_) / std::max(0.001, high_ - low_), 0.0, 1.0);
  }

 private:
  double low_;
  double high_;
};

}  // namespace

RopeAngles make_rope_angles(const RopeSpec& rope, std::span<const float> factors) {
  RopeAngles angles;
  angles.frequencies.resize(static_cast<std::size_t>(rope.n_pairs));
  const double interpolation = rope.scaling == RopeScaling::kNone ? 1.0 : 1.0 / rope.factor;
  for (int i = 0; i < rope.n_pairs; ++i) {
    const auto pair = static_cast<std::size_t>(i);
    double frequency = std::pow(rope.base, -static_cast<double>(i) / rope.n_pairs);
    if (!factors.empty()) frequency /= static_cast<double>(factors[pair]);
    angles.frequencies[pair] = frequency * interpolation;
  }
  if (rope.scaling != RopeScaling::kYarn) return angles;

  angles.magnitude = rope.attention_factor;
  if (rope.extrapolation == 0.0) return angles;
  const YarnRamp ramp(rope);
  for (int i = 0; i < rope.n_pairs; ++i) {
    const double keep = ramp(i) * rope.extrapolation;
    angles.frequencies[static_cast<std::size_t>(i)] *= (1.0 - keep) + keep * rope.factor;
  }
  angles.magnitude *= 1.0 + 0.1 * std::log(rope.factor);
  return angles;
}

void rope_at(const RopeAngles& angles, int position, float* cosines, float* sines) {
  for (std::size_t i = 0; i < angles.frequencies.size(); ++i) {
    const double angle = position * angles.frequencies[i];  // in double: the product's error would turn fast pairs
    cosines[i] = static_cast<float>(std::cos(angle) * angles.magnitude);
    sines[i] = static_cast<float>(std::sin(angle) * angles.magnitude);
  }
}

}  // namespace inlay
