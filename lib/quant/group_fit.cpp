// Every group is fitted alone first, which fixes the block's scales. Then the groups' levels and the block's scales are
// improved in turn for what the other ones are now, as long as the error shrinks.
//
// Least squares alone clips the outliers of wide groups. Errors above about the least that the widest group allows cost
// extra; the other groups, whose errors stay below that anyway, are free.
#include "quant/group_fit.hpp"

#include <algorithm>
#include <cmath>

namespace inlay {
namespace {

constexpr int kRounds = 2;             // of improvement; later ones hardly gain
constexpr int kScaleNeighbours = 2;    // levels to either side that are tried
constexpr int kMinimumNeighbours = 1;  // the same
constexpr float kCapShare = 0.97F;     // room for the rounding of scales
// Of what is beyond the cap: large enough that gaussian groups keep to it, small enough that groups of many small
// weights may ignore it. test_peer_errors.cpp shows both.
constexpr float kScaleExcessWeight = 256.0F;
constexpr float kLineExcessWeight = 80.0F;
constexpr float kLargestHalf = 65504.0F;

std::uint16_t to_finite_half(double value) {
  return float_to_half(std::clamp(static_cast<float>(value), -kLargestHalf, kLargestHalf));
}

/// The error of a whole block; `fit` is a GroupScales or GroupLines.
template <int Groups, class Fit>
FitError error_of(const SuperWeights& x, const Fit& fit, int low, int high) {
  FitError total;
  for (int g = 0; g < Groups; ++g) {
    const FitError error = fit_error(group_of<Groups>(x, g), fit.line(g), low, high);
    total.squares += error.squares;
    total.largest = std::max(total.largest, error.largest);
  }
  return total;
}

template <std::size_t Groups>
ErrorCap cap_of(const std::array<Candidates, Groups>& candidates, float weight) {
  ErrorCap cap = {0.0F, weight};
  for (const Candidates& group : candidates) cap.largest = std::max(cap.largest, group.least_largest());
  cap.largest *= kCapShare;
  return cap;
}

/// The least-squares d for the levels that the weights have now.
template <int Groups>
void solve_d(const SuperWeights& x, GroupScales<Groups>& scales, int low, int high) {
  double xs = 0.0;
  double ss = 0.0;
  for (int g = 0; g < Groups; ++g) {
    const LevelSums sums = level_sums(group_of<Groups>(x, g), scales.line(g), low, high);
    const double level = scales.levels[g];
    xs += level * sums.xq;
    ss += level * level * sums.qq;
  }
  if (ss > 0.0) scales.d = to_finite_half(xs / ss);
}

/// The least-squares d and dmin for the levels that the weights have now.
template <int Groups>
void solve_d(const SuperWeights& x, GroupLines<Groups>& lines, int low, int high) {
  double ss = 0.0;  // s: a weight's level times its group's scale level; m: the group's minimum level
  double sm = 0.0;
  double mm = 0.0;
  double xs = 0.0;
  double xm = 0.0;
  for (int g = 0; g < Groups; ++g) {
    const LevelSums sums = level_sums(group_of<Groups>(x, g), lines.line(g), low, high);
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

/// What a format allows.
struct Limits {
  int low;  // levels of a weight
  int high;
  int scale_low;  // levels of a scale or minimum
  int scale_high;
};

/// Gives one group the best scale level near the one that it has.
template <int Groups>
void choose_levels(std::span<const float> x, GroupScales<Groups>& scales, int group, const Limits& limits,
                   ErrorCap cap) {
  const int middle = scales.levels[group];
  GroupScales<Groups> trial = scales;
  FitError least = fit_error(x, scales.line(group), limits.low, limits.high);
  const int last = std::min(middle + kScaleNeighbours, limits.scale_high);
  for (int level = std::max(middle - kScaleNeighbours, limits.scale_low); level <= last; ++level) {
    trial.levels[group] = level;
    const FitError error = fit_error(x, trial.line(group), limits.low, limits.high);
    if (!(cost(error, cap) < cost(least, cap))) continue;
    least = error;
    scales.levels[group] = level;
  }
}

/// The same for its scale and minimum.
template <int Groups>
void choose_levels(std::span<const float> x, GroupLines<Groups>& lines, int group, const Limits& limits, ErrorCap cap) {
  const int scale = lines.levels[group].scale;
  const int minimum = lines.levels[group].minimum;
  GroupLines<Groups> trial = lines;
  FitError least = fit_error(x, lines.line(group), limits.low, limits.high);
  for (int s = std::max(scale - kScaleNeighbours, 0); s <= std::min(scale + kScaleNeighbours, limits.scale_high); ++s) {
    for (int m = std::max(minimum - kMinimumNeighbours, 0);
         m <= std::min(minimum + kMinimumNeighbours, limits.scale_high); ++m) {
      trial.levels[group] = {static_cast<std::uint8_t>(s), static_cast<std::uint8_t>(m)};
      const FitError error = fit_error(x, trial.line(group), limits.low, limits.high);
      if (!(cost(error, cap) < cost(least, cap))) continue;
      least = error;
      lines.levels[group] = trial.levels[group];
    }
  }
}

template <int Groups, class Fit>
Fit improved(const SuperWeights& x, Fit best, const Limits& limits, ErrorCap cap) {
  FitError least = error_of<Groups>(x, best, limits.low, limits.high);
  for (int round = 0; round < kRounds && least.squares > 0.0F; ++round) {
    Fit next = best;
    for (int g = 0; g < Groups; ++g) choose_levels(group_of<Groups>(x, g), next, g, limits, cap);
    const auto keep_if_better = [&] {
      const FitError error = error_of<Groups>(x, next, limits.low, limits.high);
      if (!(cost(error, cap) < cost(least, cap))) return false;
      least = error;
      best = next;
      return true;
    };
    const bool levels_help = keep_if_better();
    solve_d(x, next, limits.low, limits.high);
    if (!keep_if_better() && !levels_help) break;
  }
  return best;
}

}  // namespace

template <int Groups>
GroupScales<Groups> fit_group_scales(const SuperWeights& x, int low, int high, int scale_low, int scale_high) {
  std::array<Candidates, Groups> candidates;
  for (int g = 0; g < Groups; ++g) {
    candidates[g] = scale_candidates(group_of<Groups>(x, g), low, high, StoredAs::kFloat);
  }
  const ErrorCap cap = cap_of(candidates, kScaleExcessWeight);
  std::array<float, Groups> scales;
  for (int g = 0; g < Groups; ++g) scales[g] = candidates[g].choose(cap).scale;
  GroupScales<Groups> fit;
  fit.d = to_finite_half(scale_candidates(scales, scale_low, scale_high, StoredAs::kFloat).choose({}).scale);
  for (int g = 0; g < Groups; ++g) {
    fit.levels[g] = nearest_level(scales[g], half_to_float(fit.d), scale_low, scale_high);
  }
  return improved<Groups>(x, fit, {low, high, scale_low, scale_high}, cap);
}

template <int Groups>
GroupLines<Groups> fit_group_lines(const SuperWeights& x, int high, int scale_high) {
  std::array<Candidates, Groups> candidates;
  for (int g = 0; g < Groups; ++g) {
    candidates[g] = line_candidates(group_of<Groups>(x, g), high, OffsetSign::kNotPositive, StoredAs::kFloat);
  }
  const ErrorCap cap = cap_of(candidates, kLineExcessWeight);
  std::array<Line, Groups> lines;
  float largest_scale = 0.0F;
  float largest_minimum = 0.0F;
  for (int g = 0; g < Groups; ++g) {
    lines[g] = candidates[g].choose(cap);
    largest_scale = std::max(largest_scale, lines[g].scale);
    largest_minimum = std::max(largest_minimum, -lines[g].offset);
  }
  GroupLines<Groups> fit;
  fit.d = to_finite_half(largest_scale / static_cast<float>(scale_high));
  fit.dmin = to_finite_half(largest_minimum / static_cast<float>(scale_high));
  for (int g = 0; g < Groups; ++g) {
    const int scale = nearest_level(lines[g].scale, half_to_float(fit.d), 0, scale_high);
    const int minimum = nearest_level(-lines[g].offset, half_to_float(fit.dmin), 0, scale_high);
    fit.levels[g] = {static_cast<std::uint8_t>(scale), static_cast<std::uint8_t>(minimum)};
  }
  return improved<Groups>(x, fit, {0, high, 0, scale_high}, cap);
}

template GroupScales<16> fit_group_scales<16>(const SuperWeights&, int, int, int, int);
template GroupLines<8> fit_group_lines<8>(const SuperWeights&, int, int);
template GroupLines<16> fit_group_lines<16>(const SuperWeights&, int, int);

}  // namespace inlay
