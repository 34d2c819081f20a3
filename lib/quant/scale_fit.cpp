// Both fits try some grids around the one that spans the data, round to each, solve the least-squares problem for the
// rounded levels and keep the best. Sums are doubles: nothing here is worth a rounding error.
#include "quant/scale_fit.hpp"

#include <algorithm>
#include <cmath>

namespace inlay {
namespace {

constexpr double kGridStep = 0.1;  // in levels
constexpr int kGridSteps = 9;      // to either side

double nearest(double value, int low, int high) {
  return std::floor(std::clamp(value, static_cast<double>(low), static_cast<double>(high)) + 0.5);
}

/// Sums over a group of levels q and weights x.
struct Sums {
  double n = 0.0;
  double q = 0.0;
  double qq = 0.0;
  double x = 0.0;
  double xq = 0.0;
  double xx = 0.0;

  void add(double weight, double level) {
    n += 1.0;
    q += level;
    qq += level * level;
    x += weight;
    xq += weight * level;
    xx += weight * weight;
  }
  [[nodiscard]] double squared_error(double scale, double offset) const {
    return xx - 2.0 * (scale * xq + offset * x) + scale * scale * qq + 2.0 * scale * offset * q + n * offset * offset;
  }
};

struct Line {
  double scale = 0.0;
  double offset = 0.0;
};

/// The least-squares line for fixed levels; `fallback` when all levels are the same.
Line solve(const Sums& sums, OffsetSign sign, Line fallback) {
  const double determinant = sums.n * sums.qq - sums.q * sums.q;
  Line line = fallback;
  if (determinant > 0.0) {
    line.scale = (sums.n * sums.xq - sums.x * sums.q) / determinant;
    line.offset = (sums.qq * sums.x - sums.q * sums.xq) / determinant;
  }
  if (sign == OffsetSign::kNotPositive && line.offset >= 0.0) {
    line.scale = sums.qq > 0.0 ? sums.xq / sums.qq : 0.0;
    line.offset = 0.0;
  }
  return line;
}

}  // namespace

int nearest_level(float x, float scale, int low, int high) {
  if (scale == 0.0F) return std::clamp(0, low, high);
  return static_cast<int>(nearest(static_cast<double>(x) / static_cast<double>(scale), low, high));
}

float fit_scale(std::span<const float> x, int low, int high) {
  const double extreme =
      *std::max_element(x.begin(), x.end(), [](float left, float right) { return std::fabs(left) < std::fabs(right); });
  if (extreme == 0.0) return 0.0F;
  double best_scale = 0.0;
  double best_gain = 0.0;  // squared error saved against all zeros
  for (int step = -kGridSteps; step <= kGridSteps; ++step) {
    const double inverse = (low + kGridStep * step) / extreme;
    double xq = 0.0;
    double qq = 0.0;
    for (const float weight : x) {
      const double level = nearest(inverse * static_cast<double>(weight), low, high);
      xq += static_cast<double>(weight) * level;
      qq += level * level;
    }
    if (qq == 0.0 || xq * xq <= best_gain * qq) continue;
    best_gain = xq * xq / qq;
    best_scale = xq / qq;
  }
  return static_cast<float>(best_scale);
}

AffineFit fit_affine(std::span<const float> x, int high, OffsetSign sign) {
  const auto [lowest, highest] = std::minmax_element(x.begin(), x.end());
  const double offset = sign == OffsetSign::kNotPositive ? std::min(0.0, static_cast<double>(*lowest)) : *lowest;
  const double range = *highest - offset;
  if (!(range > 0.0)) return {0.0F, static_cast<float>(offset)};
  Line best;
  double best_error = HUGE_VAL;
  for (int step = -kGridSteps; step <= kGridSteps; ++step) {
    const double scale = range / (high + kGridStep * step);
    Sums sums;
    for (const float weight : x) {
      sums.add(static_cast<double>(weight), nearest((static_cast<double>(weight) - offset) / scale, 0, high));
    }
    const Line line = solve(sums, sign, {scale, offset});
    const double error = sums.squared_error(line.scale, line.offset);
    if (line.scale < 0.0 || error >= best_error) continue;
    best_error = error;
    best = line;
  }
  return {static_cast<float>(best.scale), static_cast<float>(best.offset)};
}

}  // namespace inlay
