// The angles of rotary position embedding.
#pragma once

#include <span>
#include <vector>

#include "model/model_spec.hpp"

namespace inlay {

/// At position p, pair i of a head turns by p * frequencies[i] radians and is scaled by `magnitude`. All scaling
/// methods are folded into these numbers, so that backends know none of them.
struct RopeAngles {
  std::vector<double> frequencies;  // [n_pairs]
  double magnitude = 1.0;
};

/// `factors`: [n_pairs] divisors of the frequencies (rope_freqs.weight), or empty.
RopeAngles make_rope_angles(const RopeSpec& rope, std::span<const float> factors);

/// Cosines and sines of one position, [n_pairs] each, magnitude included.
void rope_at(const RopeAngles& angles, int position, float* cosines, float* sines);

}  // namespace inlay
