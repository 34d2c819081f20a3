// Every group is fitted alone first, which fixes the block's scales. Then the groups' levels and the block's scales are
// improved in turn for what the other ones are now, as long as the error shrinks.
#include "quant/group_fit.hpp"

#include <algorithm>
#include <cmath>

#include "quant/scale_fit.hpp"

namespace inlay {
namespace {

constexpr int kRounds = 2;      // of improvement; later ones hardly gain
constexpr int kNeighbours = 1;  // levels to either side that are tried
constexpr float kLargestHalf = 65504.0F;

std::uint16_t to_finite_half(double value) {
  return float_to_half(std::clamp(static_cast<float>(value), -kLargestHalf, kLargestHalf));
}

template <int Groups>
float error_of(const SuperWeights& x, const GroupScales<Groups>& scales, int low, int high) {
  float error = 0.0F;
  for (int g = 0; g < Groups; ++g) error += squared_error(group_of<Groups>(x, g), scales.scale(g), 0.0F, low, high);
  return error;
}

/// The least-squares d for the levels that the weights have now.
template <int Groups>
std::uint16_t solve_d(const SuperWeights& x, const GroupScales<Groups>& scales, int low, int high) {
  double xs = 0.0;
  double ss = 0.0;
  for (int g = 0; g < Groups; ++g) {
    const LevelSums sums = level_sums(group_of<Groups>(x, g), scales.scale(g), 0.0F, low, high);
    const double level = scales.levels[g];
    xs += level * sums.xq;
    ss += level * level * sums.qq;
  }
  return ss > 0.0 ? to_finite_half(xs / ss) : scales.d;
}

template <int Groups>
void choose_scale(std::span<const float> x, GroupScales<Groups>& scales, int group, int low, int high, int scale_low,
                  int scale_high) {
  const float d = half_to_float(scales.d);
  const int middle = scales.levels[group];
  float best = HUGE_VALF;
  for (int level = std::max(middle - kNeighbours, scale_low); level <= std::min(middle + kNeighbours, scale_high);
       ++level) {
    const float error = squared_error(x, d * static_cast<float>(level), 0.0F, low, high);
    if (!(error < best)) continue;
    best = error;
    scales.levels[group] = level;
  }
}

template <int Groups>
float error_of(const SuperWeights& x, const GroupLines<Groups>& lines, int high) {
  float error = 0.0F;
  for (int g = 0; g < Groups; ++g) {
    error += squared_error(group_of<Groups>(x, g), lines.scale(g), lines.offset(g), 0, high);
  }
  return error;
}

/// The least-squares d and dmin for the levels that the weights have now.
template <int Groups>
void solve_d(const SuperWeights& x, GroupLines<Groups>& lines, int high) {
  double ss = 0.0;  // s: a weight's level times its group's scale level; m: the group's minimum level
  double sm = 0.0;
  double mm = 0.0;
  double xs = 0.0;
  double xm = 0.0;
  for (int g = 0; g < Groups; ++g) {
    const LevelSums sums = level_sums(group_of<Groups>(x, g), lines.scale(g), lines.offset(g), 0, high);
    const double scale = lines.levels[g].scale;
    const double minimum = lines.levels[g].minimum;
    ss += scale * scale * sums.qq;
    sm += scale * minimum * sums.q;
    mm += minimum * minimum * sums.n;
    xs += scale * sums.xq;
    xm += minimum * sums.x;
  }
  const double determinant = ss * mm - sm * sm;
  if (!(determinant > 1e-6 * ss * mm)) {  // no minimums, or nothing that tells them from the scales
    if (ss > 0.0 && mm == 0.0) lines.d = to_finite_half(std::max(xs / ss, 0.0));
    return;
  }
  lines.d = to_finite_half(std::max((xs * mm - xm * sm) / determinant, 0.0));
  lines.dmin = to_finite_half(std::max((xs * sm - xm * ss) / determinant, 0.0));
}

template <int Groups>
void choose_line(std::span<const float> x, GroupLines<Groups>& lines, int group, int high, int scale_high) {
  const float d = half_to_float(lines.d);
  const float dmin = half_to_float(lines.dmin);
  const int scale = lines.levels[group].scale;
  const int minimum = lines.levels[group].minimum;
  float best = HUGE_VALF;
  for (int s = std::max(scale - kNeighbours, 0); s <= std::min(scale + kNeighbours, scale_high); ++s) {
    for (int m = std::max(minimum - kNeighbours, 0); m <= std::min(minimum + kNeighbours, scale_high); ++m) {
      const float error = squared_error(x, d * static_cast<float>(s), -dmin * static_cast<float>(m), 0, high);
      if (!(error < best)) continue;
      best = error;
      lines.levels[group] = {static_cast<std::uint8_t>(s), static_cast<std::uint8_t>(m)};
    }
  }
}

}  // namespace

template <int Groups>
GroupScales<Groups> fit_group_scales(const SuperWeights& x, int low, int high, int scale_low, int scale_high) {
  std::array<float, Groups> scales;
  for (int g = 0; g < Groups; ++g) scales[g] = fit_scale(group_of<Groups>(x, g), low, high, StoredAs::kFloat);
  GroupScales<Groups> best;
  best.d = to_finite_half(fit_scale(scales, scale_low, scale_high, StoredAs::kFloat));
  for (int g = 0; g < Groups; ++g) {
    best.levels[g] = nearest_level(scales[g], half_to_float(best.d), scale_low, scale_high);
  }
  float least = error_of(x, best, low, high);
  for (int round = 0; round < kRounds && least > 0.0F; ++round) {
    GroupScales<Groups> next = best;
    for (int g = 0; g < Groups; ++g) {
      choose_scale(group_of<Groups>(x, g), next, g, low, high, scale_low, scale_high);
    }
    next.d = solve_d(x, next, low, high);
    const float error = error_of(x, next, low, high);
    if (!(error < least)) break;
    least = error;
    best = next;
  }
  return best;
}

template <int Groups>
GroupLines<Groups> fit_group_lines(const SuperWeights& x, int high, int scale_high) {
  std::array<AffineFit, Groups> fits;
  float largest_scale = 0.0F;
  float largest_minimum = 0.0F;
  for (int g = 0; g < Groups; ++g) {
    fits[g] = fit_affine(group_of<Groups>(x, g), high, OffsetSign::kNotPositive, StoredAs::kFloat);
    largest_scale = std::max(largest_scale, fits[g].scale);
    largest_minimum = std::max(largest_minimum, -fits[g].offset);
  }
  GroupLines<Groups> best;
  best.d = to_finite_half(largest_scale / static_cast<float>(scale_high));
  best.dmin = to_finite_half(largest_minimum / static_cast<float>(scale_high));
  for (int g = 0; g < Groups; ++g) {
    const int scale = nearest_level(fits[g].scale, half_to_float(best.d), 0, scale_high);
    const int minimum = nearest_level(-fits[g].offset, half_to_float(best.dmin), 0, scale_high);
    best.levels[g] = {static_cast<std::uint8_t>(scale), static_cast<std::uint8_t>(minimum)};
  }
  float least = error_of(x, best, high);
  for (int round = 0; round < kRounds && least > 0.0F; ++round) {
    GroupLines<Groups> next = best;
    for (int g = 0; g < Groups; ++g) choose_line(group_of<Groups>(x, g), next, g, high, scale_high);
    solve_d(x, next, high);
    const float error = error_of(x, next, high);
    if (!(error < least)) break;
    least = error;
    best = next;
  }
  return best;
}

template GroupScales<16> fit_group_scales<16>(const SuperWeights&, int, int, int, int);
template GroupLines<8> fit_group_lines<8>(const SuperWeights&, int, int);
template GroupLines<16> fit_group_lines<16>(const SuperWeights&, int, int);

}  // namespace inlay
