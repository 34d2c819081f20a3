// Candidates come from some grids around the one that spans the data: round to each, solve the least-squares problem
// for the rounded levels, and see what is left after rounding to the solution.
#include "quant/scale_fit.hpp"

#include <cmath>
#include <cstring>

#include "base/half.hpp"
#include "quant/lanes.hpp"

namespace inlay {
namespace {

constexpr float kGridStep = 0.1F;  // in levels
constexpr int kGridSteps = 9;      // to either side
constexpr int kZeroGrids = 4;      // scales, over one level
constexpr int kOffsets = 8;        // between the least weight and 0
// Weights below this are zeros in every format, and their reciprocals would leave the floats.
constexpr float kSmallestWeight = 1e-15F;
constexpr float kLargestHalf = 65504.0F;

template <int N>
struct Group {
  Lanes x[N];
  explicit Group(std::span<const float> weights) { std::memcpy(x, weights.data(), sizeof(x)); }
};

/// Calls `body` with the weights as a Group of their size.
template <class Body>
auto with_group(std::span<const float> x, const Body& body) {
  return x.size() == 16 ? body(Group<16 / kLanes>(x)) : body(Group<32 / kLanes>(x));
}

struct Range {
  Lanes low;
  Lanes high;
  Range(int lowest, int highest)
      : low(broadcast(static_cast<float>(lowest))), high(broadcast(static_cast<float>(highest))) {}
  [[nodiscard]] Lanes nearest(Lanes value) const { return rounded(larger(low, smaller(high, value))); }
};

/// 0 for a scale with which every level is 0.
float reciprocal(float scale) { return std::fabs(scale) < kSmallestWeight ? 0.0F : 1.0F / scale; }

template <int N>
FitError error_of(const Group<N>& group, Line line, const Range& range) {
  const Lanes scale = broadcast(line.scale);
  const Lanes offset = broadcast(line.offset);
  const Lanes inverse = broadcast(reciprocal(line.scale));
  Lanes squares = broadcast(0.0F);
  Lanes most = broadcast(0.0F);
  for (const Lanes x : group.x) {
    const Lanes shifted = x - offset;
    const Lanes error = shifted - scale * range.nearest(shifted * inverse);
    squares += error * error;
    most = larger(most, magnitude(error));
  }
  return {sum(squares), largest(most)};
}

float as_stored(float value, StoredAs stored) {
  if (stored == StoredAs::kFloat) return value;
  return half_to_float(float_to_half(std::min(std::max(value, -kLargestHalf), kLargestHalf)));
}

/// The weight of largest magnitude.
template <int N>
float extreme_of(const Group<N>& group) {
  Lanes high = group.x[0];
  Lanes low = group.x[0];
  for (const Lanes x : group.x) {
    high = larger(high, x);
    low = smaller(low, x);
  }
  const float most = largest(high);
  const float least = smallest(low);
  return most > -least ? most : least;
}

/// The least-squares scale for the levels at x * inverse; 0 when all of them are.
template <int N>
float solve_scale(const Group<N>& group, float inverse, const Range& range) {
  Lanes xq = broadcast(0.0F);
  Lanes qq = broadcast(0.0F);
  for (const Lanes x : group.x) {
    const Lanes q = range.nearest(x * inverse);
    xq += x * q;
    qq += q * q;
  }
  const float squares = sum(qq);
  return squares > 0.0F ? sum(xq) / squares : 0.0F;
}

template <int N>
Candidates scale_candidates_of(const Group<N>& group, int low, int high, StoredAs stored) {
  Candidates candidates;
  const Range range(low, high);
  const float extreme = extreme_of(group);
  if (std::fabs(extreme) < kSmallestWeight) {
    candidates.add({}, error_of(group, {}, range));
    return candidates;
  }
  const auto add = [&](float scale) {
    const Line line = {as_stored(scale, stored), 0.0F};
    candidates.add(line, error_of(group, line, range));
  };
  add(extreme / static_cast<float>(low));
  for (int step = -kGridSteps; step <= kGridSteps; ++step) {
    add(solve_scale(group, (static_cast<float>(low) + kGridStep * static_cast<float>(step)) / extreme, range));
  }
  return candidates;
}

/// With the weights measured from `base`.
template <int N>
LevelSums sums_of(const Group<N>& group, float base, float inverse, const Range& range) {
  Lanes q_sum = broadcast(0.0F);
  Lanes qq = q_sum;
  Lanes y_sum = q_sum;
  Lanes yq = q_sum;
  for (const Lanes x : group.x) {
    const Lanes y = x - base;
    const Lanes q = range.nearest(y * inverse);
    q_sum += q;
    qq += q * q;
    y_sum += y;
    yq += y * q;
  }
  return {N * kLanes, sum(q_sum), sum(qq), sum(y_sum), sum(yq)};
}

/// The least-squares line for fixed levels; `fallback` when all levels are the same.
Line solve_line(const LevelSums& sums, float base, OffsetSign sign, Line fallback) {
  const double determinant = sums.n * sums.qq - sums.q * sums.q;
  if (!(determinant > 0.0)) return fallback;
  const double scale = (sums.n * sums.xq - sums.x * sums.q) / determinant;
  const double offset = static_cast<double>(base) + (sums.qq * sums.x - sums.q * sums.xq) / determinant;
  if (sign == OffsetSign::kNotPositive && offset >= 0.0) {
    return {static_cast<float>((sums.xq + static_cast<double>(base) * sums.q) / sums.qq), 0.0F};
  }
  return {static_cast<float>(scale), static_cast<float>(offset)};
}

template <int N>
Candidates line_candidates_of(const Group<N>& group, int high, OffsetSign sign, StoredAs stored) {
  Lanes least = group.x[0];
  Lanes most = group.x[0];
  for (const Lanes x : group.x) {
    least = smaller(least, x);
    most = larger(most, x);
  }
  const float base = sign == OffsetSign::kNotPositive ? std::min(0.0F, smallest(least)) : smallest(least);
  const float span = largest(most) - base;
  const Range range(0, high);
  Candidates candidates;
  const auto add = [&](Line line) {
    line = {as_stored(std::max(line.scale, 0.0F), stored), as_stored(line.offset, stored)};
    candidates.add(line, error_of(group, line, range));
  };
  if (!(span >= kSmallestWeight)) {
    add({0.0F, base});
    return candidates;
  }
  add({span / static_cast<float>(high), base});
  // Grids that leave the least weights out: beside an outlier all others may share a level or two.
  for (int part = 1; sign == OffsetSign::kNotPositive && base < 0.0F && part <= kOffsets; ++part) {
    const float offset = base * (1.0F - static_cast<float>(part) / static_cast<float>(kOffsets));
    add({std::max(largest(most) - offset, 0.0F) / static_cast<float>(high), offset});
  }
  // Grids with a level at 0, where weights gather.
  for (int part = 0; sign == OffsetSign::kNotPositive && base < 0.0F && part <= kZeroGrids; ++part) {
    const float scale = span / (static_cast<float>(high) - static_cast<float>(part) / static_cast<float>(kZeroGrids));
    add({scale, std::nearbyint(base / scale) * scale});
  }
  for (int step = -kGridSteps; step <= kGridSteps; ++step) {
    const float inverse = (static_cast<float>(high) + kGridStep * static_cast<float>(step)) / span;
    add(solve_line(sums_of(group, base, inverse, range), base, sign, {1.0F / inverse, base}));
  }
  return candidates;
}

}  // namespace

float Candidates::least_largest() const {
  float least = all_[0].error.largest;
  for (int i = 1; i < count_; ++i) least = std::min(least, all_[i].error.largest);
  return least;
}

Line Candidates::choose(ErrorCap cap) const {
  const Candidate* best = &all_[0];
  float least = cost(best->error, cap);
  for (int i = 1; i < count_; ++i) {
    const float found = cost(all_[i].error, cap);
    if (!(found < least)) continue;
    least = found;
    best = &all_[i];
  }
  return best->line;
}

float cost(FitError error, ErrorCap cap) {
  const float excess = std::max(error.largest - cap.largest, 0.0F);
  return error.squares + cap.weight * excess * excess;
}

int nearest_level(float x, float scale, int low, int high) {
  if (scale == 0.0F) return std::clamp(0, low, high);
  const double value = static_cast<double>(x) / static_cast<double>(scale);
  return static_cast<int>(std::nearbyint(std::clamp(value, static_cast<double>(low), static_cast<double>(high))));
}

void nearest_levels(std::span<const float> x, Line line, int low, int high, int* levels) {
  const float inverse = reciprocal(line.scale);
  const Range range(low, high);
  with_group(x, [&](const auto& group) {
    for (const Lanes lanes : group.x) {
      const Lanes q = range.nearest((lanes - line.offset) * inverse);
      for (int i = 0; i < kLanes; ++i) *levels++ = static_cast<int>(q[i]);
    }
  });
}

Candidates scale_candidates(std::span<const float> x, int low, int high, StoredAs stored) {
  return with_group(x, [&](const auto& group) { return scale_candidates_of(group, low, high, stored); });
}

Candidates line_candidates(std::span<const float> x, int high, OffsetSign sign, StoredAs stored) {
  return with_group(x, [&](const auto& group) { return line_candidates_of(group, high, sign, stored); });
}

LevelSums level_sums(std::span<const float> x, Line line, int low, int high) {
  const float inverse = reciprocal(line.scale);
  LevelSums sums =
      with_group(x, [&](const auto& group) { return sums_of(group, line.offset, inverse, Range(low, high)); });
  sums.xq += static_cast<double>(line.offset) * sums.q;
  sums.x += static_cast<double>(line.offset) * sums.n;
  return sums;
}

FitError fit_error(std::span<const float> x, Line line, int low, int high) {
  return with_group(x, [&](const auto& group) { return error_of(group, line, Range(low, high)); });
}

}  // namespace inlay
