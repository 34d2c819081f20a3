#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "quant/packed_scales.hpp"
#include "quant/reference.hpp"

namespace {

using inlay::FormatInfo;

std::vector<char> read_golden(const char* name) {
  std::ifstream file(std::string(INLAY_TEST_DATA "/quant/") + name + ".bin", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Blocks and the values that an independent implementation decodes from them (make_goldens.py).
struct Golden {
  std::vector<std::byte> blocks;
  std::vector<float> values;
};

Golden load_golden(const FormatInfo& info) {
  const std::vector<char> bytes = read_golden(info.name);
  const auto block_bytes = static_cast<std::size_t>(info.block_bytes);
  const std::size_t record = block_bytes + static_cast<std::size_t>(info.block_weights) * sizeof(float);
  REQUIRE(!bytes.empty());
  REQUIRE(bytes.size() % record == 0);
  const std::size_t n_blocks = bytes.size() / record;
  Golden golden;
  golden.blocks.resize(n_blocks * block_bytes);
  golden.values.resize(n_blocks * static_cast<std::size_t>(info.block_weights));
  std::memcpy(golden.blocks.data(), bytes.data(), golden.blocks.size());
  std::memcpy(golden.values.data(), bytes.data() + golden.blocks.size(), golden.values.size() * sizeof(float));
  return golden;
}

/// The number of weights whose bits differ.
std::size_t count_differences(const std::vector<float>& left, const std::vector<float>& right) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < left.size(); ++i) {
    count += std::bit_cast<std::uint32_t>(left[i]) != std::bit_cast<std::uint32_t>(right[i]) ? 1 : 0;
  }
  return count;
}

TEST_CASE("every format decodes the golden blocks to the same bits") {
  std::size_t total = 0;
  inlay::for_each_format([&](auto traits) {
    using Traits = decltype(traits);
    const FormatInfo info = inlay::format_info(Traits::format);
    const std::string name = info.name;
    CAPTURE(name);
    const Golden golden = load_golden(info);
    std::vector<float> decoded(golden.values.size(), -1.0F);
    inlay::decode_row(Traits::format, golden.blocks.data(), decoded.size(), decoded.data());
    CHECK(count_differences(decoded, golden.values) == 0);
    total += decoded.size();
  });
  MESSAGE("compared " << total << " weights of " << inlay::WeightFormats::size << " formats");
}

/// Every bit of a block must matter: this is what makes the golden comparison a check of the whole layout.
TEST_CASE("the golden blocks cover every bit of every layout") {
  std::size_t bits = 0;
  inlay::for_each_format([&](auto traits) {
    using Traits = decltype(traits);
    const FormatInfo info = inlay::format_info(Traits::format);
    const std::string name = info.name;
    CAPTURE(name);
    Golden golden = load_golden(info);
    const auto block_bytes = static_cast<std::size_t>(info.block_bytes);
    std::vector<float> decoded(golden.values.size());
    for (std::size_t bit = 0; bit < block_bytes * 8; ++bit) {
      const auto flip = [&] {
        for (std::size_t at = bit / 8; at < golden.blocks.size(); at += block_bytes) {
          golden.blocks[at] ^= std::byte{1} << (bit % 8);
        }
      };
      flip();
      inlay::decode_row(Traits::format, golden.blocks.data(), decoded.size(), decoded.data());
      flip();
      CAPTURE(bit);
      REQUIRE(count_differences(decoded, golden.values) > 0);
      ++bits;
    }
  });
  MESSAGE("flipped " << bits << " bits of the layouts, each changed a weight");
}

TEST_CASE("blocks need no alignment") {
  std::size_t formats = 0;
  inlay::for_each_format([&](auto traits) {
    using Traits = decltype(traits);
    const FormatInfo info = inlay::format_info(Traits::format);
    const std::string name = info.name;
    CAPTURE(name);
    const Golden golden = load_golden(info);
    for (std::size_t shift = 1; shift < 4; ++shift) {
      std::vector<std::byte> shifted(shift + golden.blocks.size());
      std::memcpy(shifted.data() + shift, golden.blocks.data(), golden.blocks.size());
      std::vector<float> decoded(golden.values.size());
      inlay::decode_row(Traits::format, shifted.data() + shift, decoded.size(), decoded.data());
      CHECK(count_differences(decoded, golden.values) == 0);
    }
    ++formats;
  });
  MESSAGE("decoded " << formats << " formats at odd addresses");
}

TEST_CASE("a row of no weights writes nothing") {
  float untouched = 7.0F;
  inlay::for_each_format([&](auto traits) { inlay::decode_row(decltype(traits)::format, nullptr, 0, &untouched); });
  CHECK(untouched == 7.0F);
}

TEST_CASE("packed scales unpack to what was packed") {
  int checked = 0;
  for (int group = 0; group < 8; ++group) {
    for (int value = 0; value < 64 * 64; ++value) {
      std::array<std::uint8_t, 12> packed = {};
      const auto scale = static_cast<std::uint8_t>(value % 64);
      const auto minimum = static_cast<std::uint8_t>(value / 64);
      inlay::pack_scale_and_minimum(packed.data(), group, {scale, minimum});
      const inlay::ScaleAndMinimum unpacked = inlay::unpack_scale_and_minimum(packed.data(), group);
      REQUIRE(unpacked.scale == scale);
      REQUIRE(unpacked.minimum == minimum);
      ++checked;
    }
  }
  for (int group = 0; group < 16; ++group) {
    for (int scale = -32; scale < 32; ++scale) {
      std::array<std::uint8_t, 12> packed = {};
      inlay::pack_q3_scale(packed.data(), group, scale);
      REQUIRE(inlay::unpack_q3_scale(packed.data(), group) == scale);
      ++checked;
    }
  }
  MESSAGE("packed and unpacked " << checked << " scales");
}

TEST_CASE("facts of a format by value agree with its traits") {
  int position = 0;
  inlay::for_each_format([&](auto traits) {
    using Traits = decltype(traits);
    CHECK(inlay::format_index(Traits::format) == position);
    CHECK(inlay::row_bytes(Traits::format, Traits::block_weights * 3) == std::size_t{3} * Traits::block_bytes);
    ++position;
  });
  CHECK(position == 13);
  CHECK(inlay::format_index(static_cast<inlay::Format>(9)) == -1);
  CHECK(inlay::format_info(static_cast<inlay::Format>(9)).name == nullptr);
}

}  // namespace
