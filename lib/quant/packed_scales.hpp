// The 12 bytes that hold the 6-bit group scales of Q3_K, Q4_K and Q5_K. Source: the layouts as ggml publishes them.
#pragma once

#include <cstdint>

namespace inlay {

// Q4_K and Q5_K, 8 groups: byte b < 4 holds scale b in bits 0-5, byte 4 + b minimum b. The groups g >= 4 take what is
// left: the low nibbles of their scale and minimum fill byte 4 + g, the two high bits stand in bits 6, 7 of the bytes
// g - 4 (scale) and g (minimum).
struct ScaleAndMinimum {
  std::uint8_t scale;
  std::uint8_t minimum;
};

[[nodiscard]] constexpr ScaleAndMinimum unpack_scale_and_minimum(const std::uint8_t* packed, int group) {
  if (group < 4) {
    return {static_cast<std::uint8_t>(packed[group] & 63U), static_cast<std::uint8_t>(packed[group + 4] & 63U)};
  }
  return {static_cast<std::uint8_t>((packed[group + 4] & 15U) | ((packed[group - 4] >> 6U) << 4U)),
          static_cast<std::uint8_t>((packed[group + 4] >> 4U) | ((packed[group] >> 6U) << 4U))};
}

/// Sets the 6-bit scale and minimum of one group; `packed` starts as zeros.
constexpr void pack_scale_and_minimum(std::uint8_t* packed, int group, ScaleAndMinimum value) {
  const auto set = [packed](int byte, unsigned bits) {
    packed[byte] = static_cast<std::uint8_t>(packed[byte] | (bits & 255U));
  };
  if (group < 4) {
    set(group, value.scale);
    set(group + 4, value.minimum);
    return;
  }
  set(group + 4, (value.scale & 15U) | ((value.minimum & 15U) << 4U));
  set(group - 4, static_cast<unsigned>(value.scale >> 4U) << 6U);
  set(group, static_cast<unsigned>(value.minimum >> 4U) << 6U);
}

// Q3_K, 16 groups: the low nibble of scale g stands in byte g % 8, in its low half for g < 8; the two high bits in bits
// 2 (g / 4), 2 (g / 4) + 1 of byte 8 + g % 4. Stored plus 32.
[[nodiscard]] constexpr int unpack_q3_scale(const std::uint8_t* packed, int group) {
  const unsigned low = (packed[group % 8] >> (group < 8 ? 0U : 4U)) & 15U;
  const unsigned high = (packed[8 + group % 4] >> static_cast<unsigned>(2 * (group / 4))) & 3U;
  return static_cast<int>(low | (high << 4U)) - 32;
}

/// Sets the scale, -32 <= scale < 32, of one group; `packed` starts as zeros.
constexpr void pack_q3_scale(std::uint8_t* packed, int group, int scale) {
  const auto stored = static_cast<unsigned>(scale + 32);
  const auto set = [packed](int byte, unsigned bits) {
    packed[byte] = static_cast<std::uint8_t>(packed[byte] | (bits & 255U));
  };
  set(group % 8, (stored & 15U) << (group < 8 ? 0U : 4U));
  set(8 + group % 4, (stored >> 4U) << static_cast<unsigned>(2 * (group / 4)));
}

}  // namespace inlay
