#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/half.hpp"
#include "quant/encode.hpp"
#include "quant/packed_scales.hpp"
#include "quant/reference.hpp"

namespace {

using inlay::Format;

std::vector<std::byte> encoded(Format format, const std::vector<float>& x) {
  std::vector<std::byte> blocks(inlay::row_bytes(format, x.size()), std::byte{0xCD});
  inlay::encode_row(format, x.data(), x.size(), blocks.data());
  return blocks;
}

std::vector<float> decoded(Format format, const std::vector<std::byte>& blocks, std::size_t weights) {
  std::vector<float> values(weights);
  inlay::decode_row(format, blocks.data(), weights, values.data());
  return values;
}

std::vector<float> round_trip(Format format, const std::vector<float>& x) {
  return decoded(format, encoded(format, x), x.size());
}

/// Calls visitor(format, name) for every format that quantises.
template <class Visitor>
void for_each_quantised(Visitor&& visitor) {
  inlay::for_each_format([&](auto traits) {
    using Traits = decltype(traits);
    if (Traits::block_weights > 1) visitor(Traits::format, std::string(Traits::name));
  });
}

double rms(const std::vector<float>& x) {
  double sum = 0.0;
  for (const float value : x) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum / static_cast<double>(x.size()));
}

double relative_error(const std::vector<float>& x, const std::vector<float>& approximation) {
  std::vector<float> difference(x.size());
  std::transform(x.begin(), x.end(), approximation.begin(), difference.begin(), std::minus<>());
  return rms(difference) / rms(x);
}

struct ErrorBound {
  Format format;
  double bound;  // of the RMS error of gaussian weights over their RMS
};

// About 5% above what the encoders reach: a worse fit or a misplaced bit fails.
constexpr std::array<ErrorBound, 13> kErrorBounds = {{
    {Format::kF32, 0.0},
    {Format::kF16, 2.2e-4},
    {Format::kBF16, 1.75e-3},
    {Format::kQ4_0, 0.086},
    {Format::kQ4_1, 0.074},
    {Format::kQ5_0, 0.0427},
    {Format::kQ5_1, 0.0358},
    {Format::kQ8_0, 0.0053},
    {Format::kQ2_K, 0.284},
    {Format::kQ3_K, 0.152},
    {Format::kQ4_K, 0.0755},
    {Format::kQ5_K, 0.038},
    {Format::kQ6_K, 0.0183},
}};

TEST_CASE("gaussian weights survive every format within its error") {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  std::vector<float> x(256 * 256);
  std::generate(x.begin(), x.end(), [&] { return normal(random); });
  std::string figures;
  for (const ErrorBound& expected : kErrorBounds) {
    const std::string name = inlay::format_info(expected.format).name;
    CAPTURE(name);
    const double error = relative_error(x, round_trip(expected.format, x));
    CHECK(error <= expected.bound);
    std::array<char, 32> text;
    std::snprintf(text.data(), text.size(), " %.5f", error);
    figures += "\n  " + name + text.data();
  }
  MESSAGE("relative RMS error of " << x.size() << " gaussian weights:" << figures);
}

TEST_CASE("weights with a mean and outliers survive too") {
  std::mt19937 random(8);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  std::vector<float> x(64 * 256);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = normal(random) * (i % 97 == 0 ? 8.0F : 1.0F) + 0.7F;
  for_each_quantised([&](Format format, const std::string& name) {
    CAPTURE(name);
    const double gaussian = std::find_if(kErrorBounds.begin(), kErrorBounds.end(), [&](const ErrorBound& row) {
                              return row.format == format;
                            })->bound;
    CHECK(relative_error(x, round_trip(format, x)) <= 2.0 * gaussian);
  });
}

std::uint16_t half_between(std::mt19937& random, float low, float high) {
  return inlay::float_to_half(std::uniform_real_distribution<float>(low, high)(random));
}

/// Sets the two halves of a block that has a scale and an offset or minimum.
template <class Block>
void set_scales(Block& block, std::mt19937& random) {
  block.d = half_between(random, 0.001F, 0.1F);
  if constexpr (requires { block.dmin; }) block.dmin = half_between(random, 0.001F, 0.1F);
  if constexpr (requires { block.m; }) block.m = half_between(random, -1.0F, 1.0F);
}

int pick(std::mt19937& random, int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }

// Group scales that the fits can recover exactly: one of them takes the end of their range.
void set_full_scales(inlay::BlockQ2_K& block, std::mt19937& random) {
  for (auto& scales : block.scales) scales = static_cast<std::uint8_t>(pick(random, 1, 15) | pick(random, 1, 15) << 4);
  block.scales[3] = 0xFF;
}
void set_full_scales(inlay::BlockQ3_K& block, std::mt19937& random) {
  std::fill(std::begin(block.scales), std::end(block.scales), std::uint8_t{0});
  for (int g = 0; g < 16; ++g) inlay::pack_q3_scale(block.scales, g, g == 5 ? -32 : pick(random, -31, -1));
}
void set_full_scales(inlay::BlockQ6_K& block, std::mt19937& random) {
  for (auto& scale : block.scales) scale = static_cast<std::int8_t>(pick(random, -127, -1));
  block.scales[5] = -128;
}
template <class Block>
void set_full_scales(Block& block, std::mt19937& random) {
  if constexpr (requires { block.scales; }) {  // Q4_K and Q5_K
    std::fill(std::begin(block.scales), std::end(block.scales), std::uint8_t{0});
    for (int g = 0; g < 8; ++g) {
      const auto scale = static_cast<std::uint8_t>(g == 2 ? 63 : pick(random, 1, 63));
      const auto minimum = static_cast<std::uint8_t>(g == 6 ? 63 : pick(random, 1, 63));
      inlay::pack_scale_and_minimum(block.scales, g, {scale, minimum});
    }
  }
}

/// Of every 16 bytes the first is zeros and the second ones: with weights side by side in a byte, the first and second
/// weight of every group take the ends of the range.
template <class Level, std::size_t N>
void set_ends(Level (&levels)[N]) {
  for (std::size_t i = 0; i < N; i += 16) {
    levels[i] = 0;
    levels[i + 1] = static_cast<Level>(0xFF);
  }
}

void set_full_levels(inlay::BlockQ8_0& block) {
  for (auto& level : block.qs) level = std::max<std::int8_t>(level, -127);
  block.qs[0] = -127;
  block.qs[1] = 127;
}
template <class Block>
void set_full_levels(Block& block) {
  if constexpr (requires { block.qs; }) set_ends(block.qs);
  if constexpr (requires { block.ql; }) set_ends(block.ql);
  if constexpr (requires { block.hmask; }) set_ends(block.hmask);
  if constexpr (requires { block.qh; } && sizeof(block) >= sizeof(inlay::BlockQ2_K)) {
    set_ends(block.qh);
  } else if constexpr (requires { block.qh; }) {  // Q5_0 and Q5_1: a bit a weight
    for (const int byte : {0, 2}) block.qh[byte] = static_cast<std::uint8_t>((block.qh[byte] & ~3) | 2);
  }
}

/// A block of random bytes with sensible scales, whose every 16 weights hold both ends of the range of levels.
template <class Traits>
std::vector<std::byte> representable_block(std::mt19937& random) {
  std::vector<std::byte> bytes(sizeof(typename Traits::Block));
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<std::byte>(random()); });
  typename Traits::Block block;
  std::memcpy(&block, bytes.data(), sizeof(block));
  set_scales(block, random);
  set_full_scales(block, random);
  set_full_levels(block);
  std::memcpy(bytes.data(), &block, sizeof(block));
  return bytes;
}

TEST_CASE("what a format can express comes back exactly") {
  std::mt19937 random(11);
  std::size_t total = 0;
  inlay::for_each_format([&](auto traits) {
    using Traits = decltype(traits);
    if constexpr (Traits::block_weights > 1) {
      const std::string name = Traits::name;
      CAPTURE(name);
      for (int i = 0; i < 50; ++i) {
        const auto block = representable_block<Traits>(random);
        const std::vector<float> x = decoded(Traits::format, block, Traits::block_weights);
        REQUIRE(round_trip(Traits::format, x) == x);
        total += x.size();
      }
    }
  });
  for (unsigned bits = 0; bits < 0x7C00U; ++bits) {
    const std::vector<float> x = {inlay::half_to_float(static_cast<std::uint16_t>(bits))};
    REQUIRE(round_trip(Format::kF16, x) == x);
  }
  MESSAGE("reproduced " << total << " weights of 10 formats and all positive halves");
}

TEST_CASE("zeros stay zeros") {
  const std::vector<float> zeros(512, 0.0F);
  inlay::for_each_format([&](auto traits) {
    const std::string name = decltype(traits)::name;
    CAPTURE(name);
    CHECK(round_trip(decltype(traits)::format, zeros) == zeros);
  });
}

TEST_CASE("constant blocks keep their value") {
  for (const float constant : {1.0F, -1.0F, 0.3F, -0.3F, 1234.5F, -3e-3F}) {
    const std::vector<float> x(256, constant);
    for_each_quantised([&](Format format, const std::string& name) {
      CAPTURE(name);
      CAPTURE(constant);
      // A half of 11 bits for the scale, for K formats a scale level next to it.
      for (const float value : round_trip(format, x)) REQUIRE(value == doctest::Approx(constant).epsilon(0.001));
    });
  }
}

TEST_CASE("one weight among zeros keeps its value and they stay near zero") {
  for (std::size_t position = 0; position < 256; position += 37) {
    std::vector<float> x(256, 0.0F);
    x[position] = -2.5F;
    for_each_quantised([&](Format format, const std::string& name) {
      CAPTURE(name);
      CAPTURE(position);
      CHECK(relative_error(x, round_trip(format, x)) < 0.01);
    });
  }
}

TEST_CASE("every magnitude that halves can scale keeps the relative error") {
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  std::vector<float> unit(2048);
  std::generate(unit.begin(), unit.end(), [&] { return normal(random); });
  for (const float magnitude : {0.05F, 1.0F, 100.0F, 10000.0F}) {
    std::vector<float> x = unit;
    for (float& value : x) value *= magnitude;
    for (const ErrorBound& expected : kErrorBounds) {
      const std::string name = inlay::format_info(expected.format).name;
      CAPTURE(name);
      CAPTURE(magnitude);
      CHECK(relative_error(x, round_trip(expected.format, x)) <= 1.1 * expected.bound);
    }
  }
}

TEST_CASE("beyond the halves: what is too large saturates, what is too small becomes zero") {
  for_each_quantised([&](Format format, const std::string& name) {
    CAPTURE(name);
    for (const float huge : {1e12F, -1e12F, std::numeric_limits<float>::max(), std::numeric_limits<float>::infinity(),
                             -std::numeric_limits<float>::infinity()}) {
      CAPTURE(huge);
      std::vector<float> x(256, 1.0F);
      x[5] = huge;
      const std::vector<float> result = round_trip(format, x);
      CHECK(std::all_of(result.begin(), result.end(), [](float value) { return std::isfinite(value); }));
      // The offset of Q4_1 and Q5_1 is a half itself: the least that any format can express is -65504.
      CHECK(std::fabs(result[5]) >= 65504.0F);
      CHECK(std::signbit(result[5]) == std::signbit(huge));
    }
    std::vector<float> tiny(256);
    for (std::size_t i = 0; i < tiny.size(); ++i) tiny[i] = (i % 2 == 0 ? 1e-12F : -1e-12F);
    CHECK(round_trip(format, tiny) == std::vector<float>(256, 0.0F));
  });
}

TEST_CASE("NaN becomes a finite number and leaves the other weights alone") {
  for_each_quantised([&](Format format, const std::string& name) {
    CAPTURE(name);
    std::vector<float> x(256);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 16) - 7.5F;
    std::vector<float> with_zero = x;
    x[40] = std::numeric_limits<float>::quiet_NaN();
    with_zero[40] = 0.0F;
    CHECK(round_trip(format, x) == round_trip(format, with_zero));
    const std::vector<float> all(256, std::numeric_limits<float>::signaling_NaN());
    CHECK(round_trip(format, all) == std::vector<float>(256, 0.0F));
  });
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(round_trip(Format::kF16, {nan})[0]));
  CHECK(std::isnan(round_trip(Format::kBF16, {nan})[0]));
  CHECK(std::isnan(round_trip(Format::kF32, {nan})[0]));
}

TEST_CASE("a block depends on its own weights only") {
  std::mt19937 random(10);
  std::normal_distribution<float> normal;
  std::vector<float> x(768);
  std::generate(x.begin(), x.end(), [&] { return normal(random); });
  inlay::for_each_format([&](auto traits) {
    constexpr Format kFormat = decltype(traits)::format;
    const std::string name = decltype(traits)::name;
    CAPTURE(name);
    const std::vector<std::byte> whole = encoded(kFormat, x);
    const std::vector<std::byte> middle = encoded(kFormat, {x.begin() + 256, x.begin() + 512});
    CHECK(std::equal(middle.begin(), middle.end(), whole.begin() + static_cast<std::ptrdiff_t>(middle.size())));
  });
}

}  // namespace
