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

/// From where on the largest error counts by itself. Least squares alone would let an outlier go for a little gain in
/// many small weights.
struct ErrorCap {
  float largest = 0.0F;
  float weight = 0.0F;  // of the square of what is beyond `largest`
};

/// What the fits minimise: the squared error and the penalty for what is beyond the cap.
[[nodiscard]] float cost(FitError error, ErrorCap cap);

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
  [[nodiscard]] Line choose(ErrorCap cap) const;

 private:
  std::array<Candidate, 40> all_;  // more than any fit tries
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
