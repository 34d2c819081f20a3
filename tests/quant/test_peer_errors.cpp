// Our encoders against llama.cpp's on the same tensors: make_peer_errors.py has measured the peer and makes the tensors
// in the same way, bit by bit.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/half.hpp"
#include "quant/encode.hpp"
#include "quant/reference.hpp"

namespace {

using inlay::Format;

constexpr std::size_t kWeights = std::size_t{1} << 18U;
constexpr double kDeviation = 0x1.0p-6;
const std::string kFolder = INLAY_TEST_DATA "/quant/";

/// Random 32-bit integers: the hash "lowbias32" of a counter (Chris Wellons, public domain).
std::uint32_t hashed(std::uint32_t stream, std::size_t i) {
  std::uint32_t x = static_cast<std::uint32_t>(i) + (stream << 24U);
  x ^= x >> 16U;
  x *= 0x7FEB352DU;
  x ^= x >> 15U;
  x *= 0x846CA68BU;
  return x ^ (x >> 16U);
}

/// About normal with deviation one: sums of eight 16-bit numbers, exact in doubles.
double gaussian(std::uint32_t stream, std::size_t i) {
  double sum = 0.0;
  for (std::size_t part = 0; part < 4; ++part) {
    const std::uint32_t bits = hashed(stream, 4 * i + part);
    sum += (bits & 0xFFFFU) + (bits >> 16U);
  }
  return (sum - 4.0 * 65535.0) * 1.2247 / 65536.0;
}

double student_t(std::size_t i) {
  double squares = 0.0;
  for (const std::uint32_t stream : {3U, 4U, 5U}) {
    const double value = gaussian(stream, i);
    squares = squares + value * value;
  }
  return gaussian(2, i) / std::sqrt(squares / 3.0 + 1e-6);
}

double sparse(std::size_t i) {
  const std::uint32_t kind = hashed(7, i);
  return gaussian(6, i) * (kind % 512 == 0 ? 16.0 : kind % 8 == 1 ? 1.0 : 0.03125);
}

double uneven_rows(std::size_t i) {
  const std::size_t row = i / 512;
  return gaussian(9, row) * 0.25 + gaussian(8, i) * (1.0 + static_cast<double>(row % 7));
}

std::vector<float> generated(const std::function<double(std::size_t)>& value) {
  std::vector<float> x(kWeights);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(value(i) * kDeviation);
  return x;
}

/// Uniform in [-0.5, 0.5): what rounding to a level took away.
double dither(std::uint32_t stream, std::size_t i) { return (hashed(stream, i) >> 8U) * 0x1.0p-24 - 0.5; }

template <class Block>
std::vector<Block> read_blocks(const std::string& name) {
  std::ifstream file(kFolder + name, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  REQUIRE(bytes.size() % sizeof(Block) == 0);
  std::vector<Block> blocks(bytes.size() / sizeof(Block));
  std::memcpy(blocks.data(), bytes.data(), bytes.size());
  return blocks;
}

std::vector<float> real_embedding() {
  std::vector<float> x;
  for (const auto& block : read_blocks<inlay::BlockQ8_0>("smollm2_embedding.q8_0")) {
    const double d = inlay::half_to_float(block.d);
    for (const std::int8_t level : block.qs) x.push_back(static_cast<float>(d * (level + dither(10, x.size()))));
  }
  return x;
}

std::vector<float> real_ffn_down() {
  std::vector<float> x;
  for (const auto& block : read_blocks<inlay::BlockQ4_1>("smollm2_ffn_down.q4_1")) {
    const double d = inlay::half_to_float(block.d);
    const double m = inlay::half_to_float(block.m);
    for (int i = 0; i < inlay::kSmallBlock; ++i) {
      const int level = i < 16 ? block.qs[i] & 15 : block.qs[i - 16] >> 4;
      x.push_back(static_cast<float>(d * (level + dither(11, x.size())) + m));
    }
  }
  return x;
}

const std::map<std::string, std::function<std::vector<float>()>> kTensors = {
    {"gaussian", [] { return generated([](std::size_t i) { return gaussian(1, i); }); }},
    {"student_t", [] { return generated(student_t); }},
    {"sparse", [] { return generated(sparse); }},
    {"uneven_rows", [] { return generated(uneven_rows); }},
    {"smollm2_embedding", real_embedding},
    {"smollm2_ffn_down", real_ffn_down},
};

// One scale stored as a half may be off by 2^-11, so may a minimum: largest errors that differ by less are equal.
constexpr double kScaleRounding = 1.0 + 0x1.0p-10;

struct Errors {
  double rmse = 0.0;
  double max = 0.0;
};

Errors round_trip_errors(Format format, const std::vector<float>& x) {
  std::vector<std::byte> blocks(inlay::row_bytes(format, x.size()));
  inlay::encode_row(format, x.data(), x.size(), blocks.data());
  std::vector<float> decoded(x.size());
  inlay::decode_row(format, blocks.data(), x.size(), decoded.data());
  Errors errors;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double error = std::fabs(static_cast<double>(decoded[i]) - static_cast<double>(x[i]));
    errors.rmse += error * error;
    errors.max = std::max(errors.max, error);
  }
  errors.rmse = std::sqrt(errors.rmse / static_cast<double>(x.size()));
  return errors;
}

std::uint64_t sum_of_bits(const std::vector<float>& x) {
  std::uint64_t sum = 0;
  for (const float value : x) sum += std::bit_cast<std::uint32_t>(value);
  return sum;
}

TEST_CASE("no format loses more than llama.cpp's quantisers do") {
  std::ifstream file(kFolder + "peer_errors.json");
  const auto goldens = nlohmann::json::parse(file);
  std::string table;
  int compared = 0;
  for (const auto& [key, golden] : goldens["tensors"].items()) {
    const std::string tensor = key;
    const std::vector<float> x = kTensors.at(tensor)();
    REQUIRE(x.size() == golden["weights"].get<std::size_t>());
    REQUIRE(sum_of_bits(x) == golden["sum_of_bits"].get<std::uint64_t>());
    for (const auto& [format, errors] : golden["formats"].items()) {
      const std::string name = format;
      const nlohmann::json& peer = errors;
      CAPTURE(tensor);
      CAPTURE(name);
      bool known = false;
      inlay::for_each_format([&](auto traits) {
        if (name != decltype(traits)::name) return;
        known = true;
        const Errors ours = round_trip_errors(decltype(traits)::format, x);
        const Errors theirs = {peer["rmse"].template get<double>(), peer["max"].template get<double>()};
        std::array<char, 160> line;
        std::snprintf(line.data(), line.size(),
                      "\n  %-18s %-5s rmse %.3e, peer %.3e (%.3f)   max %.3e, peer %.3e (%.3f)", tensor.c_str(),
                      name.c_str(), ours.rmse, theirs.rmse, ours.rmse / theirs.rmse, ours.max, theirs.max,
                      ours.max / theirs.max);
        table += line.data();
        CHECK(ours.rmse <= theirs.rmse);
        CHECK(ours.max <= theirs.max * kScaleRounding);
        ++compared;
      });
      CHECK(known);
    }
  }
  CHECK(compared == 60);
  MESSAGE("round-trip errors, against " << goldens["peer"].get<std::string>() << ":" << table);
}

}  // namespace
