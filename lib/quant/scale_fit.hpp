// Chooses the scale and offset of a group of 16 or 32 weights.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace inlay {

/// x ~ scale * q + offset.
struct Line {
  float scale = 0.0F;
  float offset = 0.0F;
};

/// The nearest integer to x / scale in [low, high]; 0, or what is nearest to it, for a zero scale.
[[nodiscard]] int nearest_level(float x, float scale, int low, int high);

/// The nearest levels in [low, high] of a group of weights.
void nearest_levels(std::span<const float> x, Line line, int low, int high, int* levels);

/// What the chosen numbers will be stored as.
enum class StoredAs : std::uint8_t { kFloat, kHalf };

/// What is left of a group when every weight takes its nearest level.
struct FitError {
  float squares = 0.0F;  // their sum
  float largest = 0.0F;  // magnitude
};

/// What the fits minimise: the squared error and a penalty for errors beyond a cap. Least squares alone would let an
/// outlier go for a little gain in many small weights.
[[nodiscard]] float cost(FitError error, float cap);

/// The lines worth a look for one group, the first of them being the one that spans the weights.
class Candidates {
 public:
  struct Candidate {
    Line line;
    FitError error;
  };
  void add(Line line, FitError error) { all_[count_++] = {line, error}; }
  [[nodiscard]] const Candidate& first() const { return all_[0]; }
  /// The least of the largest errors.
  [[nodiscard]] float least_largest() const;
  /// The least cost.
  [[nodiscard]] Line choose(float cap) const;

 private:
  std::array<Candidate, 32> all_;
  int count_ = 0;
};

/// Scales (offset 0) for x ~ s * q, low <= q <= high, low < 0. The weight of largest magnitude gets a level near `low`,
/// so they may be negative. 0 alone for zeros.
[[nodiscard]] Candidates scale_candidates(std::span<const float> x, int low, int high, StoredAs stored);

enum class OffsetSign : std::uint8_t { kAny, kNotPositive };

/// Lines for 0 <= q <= high, with scales that are not negative.
[[nodiscard]] Candidates line_candidates(std::span<const float> x, int high, OffsetSign sign, StoredAs stored);

/// Sums over a group of weights x and their nearest levels q.
struct LevelSums {
  double n = 0.0;
  double q = 0.0;
  double qq = 0.0;
  double x = 0.0;
  double xq = 0.0;
};
[[nodiscard]] LevelSums level_sums(std::span<const float> x, Line line, int low, int high);

[[nodiscard]] FitError fit_error(std::span<const float> x, Line line, int low, int high);

}  // namespace inlay
