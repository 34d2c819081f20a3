#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/half.hpp"
#include "cpu/kernel_cases.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

const std::vector<int> kSizes = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 100, 576, 1001};

TEST_CASE("rms_norm is within rounding of double precision, in place too") {
  std::size_t checked = 0;
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    CAPTURE(std::string(table->name));
    Random random(1);
    for (const int n : kSizes) {
      for (const float size : {1.0F, 1e-6F, 1e15F}) {
        const auto count = static_cast<std::size_t>(n);
        const std::vector<float> x = random_floats(random, count, size);
        const std::vector<float> weight = random_floats(random, count);
        std::vector<float> out = poisoned(count + 1);
        table->rms_norm(x.data(), weight.data(), n, 1e-5F, out.data());
        double squares = 0.0;
        for (const float value : x) squares += static_cast<double>(value) * static_cast<double>(value);
        const double inverse = 1.0 / std::sqrt(squares / n + 1e-5);
        // The mean of n squares, an eighth of them in each lane, and six roundings; halved by the square root.
        const double bound = (n / 8.0 + 16.0) * 0x1.0p-24;
        for (std::size_t i = 0; i < count; ++i, ++checked) {
          const double expected = static_cast<double>(x[i]) * inverse * static_cast<double>(weight[i]);
          REQUIRE(std::abs(static_cast<double>(out[i]) - expected) <= bound * std::abs(expected) + 1e-45);
        }
        CHECK(is_poison(out[count]));
        std::vector<float> in_place = x;
        table->rms_norm(in_place.data(), weight.data(), n, 1e-5F, in_place.data());
        CHECK(same_bits(in_place.data(), out.data(), count));
      }
    }
  }
  MESSAGE("checked ", checked, " values");
}

/// The rotation of one head in double precision.
std::vector<double> rotated(const float* head, int head_size, int n_pairs, RopeKind kind,
                            const std::vector<float>& cosines, const std::vector<float>& sines) {
  std::vector<double> out(head, head + head_size);
  for (int i = 0; i < n_pairs; ++i) {
    const int first = kind == RopeKind::kNormal ? 2 * i : i;
    const int second = kind == RopeKind::kNormal ? 2 * i + 1 : i + n_pairs;
    const double c = cosines[static_cast<std::size_t>(i)];
    const double s = sines[static_cast<std::size_t>(i)];
    const double x = head[first];
    const double y = head[second];
    out[static_cast<std::size_t>(first)] = x * c - y * s;
    out[static_cast<std::size_t>(second)] = x * s + y * c;
  }
  return out;
}

/// Three heads of a size; how many values were compared.
std::size_t check_rope(const cpu::KernelTable& table, Random& random, RopeKind kind, int n_pairs) {
  const int head_size = 2 * n_pairs + n_pairs % 3;  // some heads rotate a part only
  constexpr int kHeads = 3;
  const auto size = static_cast<std::size_t>(head_size);
  const std::vector<float> x = random_floats(random, kHeads * size);
  std::vector<float> cosines;
  std::vector<float> sines;
  for (const float angle : random_floats(random, static_cast<std::size_t>(n_pairs), 3.0F)) {
    cosines.push_back(std::cos(angle));
    sines.push_back(std::sin(angle));
  }
  std::vector<float> out = x;
  out.push_back(std::bit_cast<float>(kPoison));
  table.rope(out.data(), kHeads, head_size, n_pairs, kind, cosines.data(), sines.data());
  for (std::size_t head = 0; head < kHeads; ++head) {
    const auto expected = rotated(&x[head * size], head_size, n_pairs, kind, cosines, sines);
    for (std::size_t i = 0; i < size; ++i) {
      const auto found = static_cast<double>(out[head * size + i]);
      REQUIRE(std::abs(found - expected[i]) <= 0x1.0p-22 * (std::abs(expected[i]) + 4.0));
      if (i >= 2 * static_cast<std::size_t>(n_pairs)) REQUIRE(out[head * size + i] == x[head * size + i]);
    }
  }
  CHECK(is_poison(out.back()));
  return kHeads * size;
}

TEST_CASE("rope rotates the pairs of every head and leaves the rest") {
  std::size_t checked = 0;
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    CAPTURE(std::string(table->name));
    Random random(2);
    for (const RopeKind kind : {RopeKind::kNormal, RopeKind::kNeox}) {
      for (const int n_pairs : {1, 2, 3, 4, 5, 8, 11, 16, 20, 32, 40, 48, 64}) {
        checked += check_rope(*table, random, kind, n_pairs);
      }
    }
  }
  MESSAGE("checked ", checked, " values");
}

double exact_silu(float x) { return static_cast<double>(x) / (1.0 + std::exp(-static_cast<double>(x))); }

void check_gated_silu(const cpu::KernelTable& table, const std::vector<float>& gate, const std::vector<float>& up) {
  const std::size_t count = gate.size();
  const auto n = static_cast<int>(count);
  std::vector<float> out = poisoned(count + 1);
  table.gated_activation(Activation::kSilu, gate.data(), up.data(), n, out.data());
  for (std::size_t i = 0; i < count; ++i) {
    const double expected = exact_silu(gate[i]) * static_cast<double>(up[i]);
    REQUIRE(std::abs(static_cast<double>(out[i]) - expected) <= 6 * 0x1.0p-24 * std::abs(expected) + 1e-37);
  }
  CHECK(is_poison(out[count]));
  std::vector<float> over_gate = gate;
  table.gated_activation(Activation::kSilu, over_gate.data(), up.data(), n, over_gate.data());
  CHECK(same_bits(over_gate.data(), out.data(), count));
  std::vector<float> over_up = up;
  table.gated_activation(Activation::kSilu, gate.data(), over_up.data(), n, over_up.data());
  CHECK(same_bits(over_up.data(), out.data(), count));
}

TEST_CASE("gated SiLU is within rounding of double precision, in place too") {
  std::size_t checked = 0;
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    CAPTURE(std::string(table->name));
    Random random(3);
    for (const int n : kSizes) {
      const auto count = static_cast<std::size_t>(n);
      for (const float deviation : {0.01F, 1.0F, 30.0F, 1e6F}) {
        const std::vector<float> gate = random_floats(random, count, deviation);
        check_gated_silu(*table, gate, random_floats(random, count));
        checked += count;
      }
    }
  }
  MESSAGE("checked ", checked, " values");
}

TEST_CASE("add is exact") {
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    CAPTURE(std::string(table->name));
    Random random(4);
    for (const int n : kSizes) {
      const auto count = static_cast<std::size_t>(n);
      const std::vector<float> x = random_floats(random, count);
      const std::vector<float> before = random_floats(random, count);
      std::vector<float> out = before;
      out.push_back(std::bit_cast<float>(kPoison));
      table->add(x.data(), n, out.data());
      for (std::size_t i = 0; i < count; ++i) REQUIRE(out[i] == before[i] + x[i]);
      CHECK(is_poison(out[count]));
    }
  }
}

TEST_CASE("store_half rounds as the base layer does, specials included") {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits <= 0xFFFFFFFFU; bits += 65521) {  // a prime: all exponents, varied fractions
    x.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  }
  for (std::uint32_t half = 0; half + 1 < 0x7C00U; ++half) {  // every tie
    const double low = half_to_float(static_cast<std::uint16_t>(half));
    const double high = half_to_float(static_cast<std::uint16_t>(half + 1));
    x.push_back(static_cast<float>((low + high) / 2));
  }
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    CAPTURE(std::string(table->name));
    std::vector<std::uint16_t> out(x.size() + 1, 0xABCD);
    table->store_half(x.data(), static_cast<int>(x.size()), out.data());
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < x.size(); ++i) wrong += out[i] == float_to_half(x[i]) ? 0 : 1;
    CHECK(wrong == 0);
    CHECK(out.back() == 0xABCD);
    for (const int n : kSizes) {
      std::vector<std::uint16_t> part(static_cast<std::size_t>(n) + 1, 0xABCD);
      table->store_half(x.data(), n, part.data());
      CHECK(std::equal(part.begin(), part.end() - 1, out.begin()));
      CHECK(part.back() == 0xABCD);
    }
    MESSAGE(std::string(table->name), ": ", x.size(), " values");
  }
}

}  // namespace
