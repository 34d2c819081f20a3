#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "model/rope.hpp"

namespace {

using namespace inlay;

RopeSpec spec_of(RopeScaling scaling, double factor) {
  RopeSpec rope;
  rope.n_pairs = 32;
  rope.scaling = scaling;
  rope.factor = factor;
  rope.original_context = 2048;
  return rope;
}

TEST_CASE("frequencies fall geometrically from 1") {
  const RopeAngles angles = make_rope_angles(spec_of(RopeScaling::kNone, 1), {});
  for (int i = 0; i < 32; ++i) {
    CHECK(angles.frequencies[static_cast<std::size_t>(i)] == doctest::Approx(std::pow(10000.0, -i / 32.0)));
  }
  CHECK(angles.magnitude == 1.0);
}

TEST_CASE("linear scaling stretches positions; factors divide frequencies") {
  const RopeAngles plain = make_rope_angles(spec_of(RopeScaling::kNone, 1), {});
  const RopeAngles linear = make_rope_angles(spec_of(RopeScaling::kLinear, 4), {});
  std::vector<float> factors(32, 1.0F);
  factors[31] = 8.0F;
  const RopeAngles divided = make_rope_angles(spec_of(RopeScaling::kNone, 1), factors);
  for (std::size_t i = 0; i < 32; ++i) {
    CHECK(linear.frequencies[i] == doctest::Approx(plain.frequencies[i] / 4));
    CHECK(divided.frequencies[i] == doctest::Approx(plain.frequencies[i] / (i == 31 ? 8 : 1)));
  }
  std::vector<float> cosines(32);
  std::vector<float> sines(32);
  rope_at(linear, 100, cosines.data(), sines.data());
  CHECK(cosines[0] == doctest::Approx(std::cos(25.0)));
  CHECK(sines[0] == doctest::Approx(std::sin(25.0)));
}

TEST_CASE("YaRN keeps fast pairs, interpolates slow ones, ramps between and scales the magnitude") {
  const double factor = 4;
  const RopeAngles plain = make_rope_angles(spec_of(RopeScaling::kNone, 1), {});
  const RopeAngles yarn = make_rope_angles(spec_of(RopeScaling::kYarn, factor), {});
  // Paper, section 3.2: pairs with more than beta_fast = 32 turns in 2048 positions are kept, fewer than beta_slow = 1
  // interpolated. 2048 / (2 pi turns) = base^(i / 32) gives i = 8.06 and i = 20.1.
  for (std::size_t i = 0; i < 32; ++i) {
    const double ratio = yarn.frequencies[i] / plain.frequencies[i];
    if (i <= 8) CHECK(ratio == doctest::Approx(1.0));
    if (i >= 21) CHECK(ratio == doctest::Approx(1 / factor));
    if (i > 8 && i < 21)
      CHECK(ratio == doctest::Approx(1 / factor + (1 - 1 / factor) * (21.0 - static_cast<double>(i)) / 13));
  }
  CHECK(yarn.magnitude == doctest::Approx(1 + 0.1 * std::log(factor)));
}

}  // namespace
