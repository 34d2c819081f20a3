// The quants of a block by the number of their weight, as formats.hpp draws them. Usable on devices too.
#pragma once

#include <cstdint>

#include "quant/formats.hpp"

namespace inlay {

namespace detail {

[[nodiscard]] constexpr int low_nibble(std::uint8_t byte) { return byte & 15; }
[[nodiscard]] constexpr int high_nibble(std::uint8_t byte) { return byte >> 4; }
[[nodiscard]] constexpr int bit(std::uint8_t byte, int position) { return (byte >> position) & 1; }
[[nodiscard]] constexpr int two_bits(std::uint8_t byte, int position) { return (byte >> position) & 3; }

/// Weight i of a block of 32 nibbles.
[[nodiscard]] constexpr int nibble(const std::uint8_t* qs, int i) {
  return i < kSmallBlock / 2 ? low_nibble(qs[i]) : high_nibble(qs[i - kSmallBlock / 2]);
}

/// Weight i of a super block of 256 2-bit numbers.
[[nodiscard]] constexpr int two_bits_of(const std::uint8_t* qs, int i) {
  return two_bits(qs[i / 128 * 32 + i % 32], i / 32 % 4 * 2);
}

/// Weight i of a super block of 256 nibbles.
[[nodiscard]] constexpr int nibble_of(const std::uint8_t* qs, int i) {
  const std::uint8_t byte = qs[i / 64 * 32 + i % 32];
  return i / 32 % 2 == 0 ? low_nibble(byte) : high_nibble(byte);
}

}  // namespace detail

/// The number that stands for weight i: `q` of the format's formula.
[[nodiscard]] constexpr int quant(const BlockQ4_0& block, int i) { return detail::nibble(block.qs, i); }
[[nodiscard]] constexpr int quant(const BlockQ4_1& block, int i) { return detail::nibble(block.qs, i); }
[[nodiscard]] constexpr int quant(const BlockQ5_0& block, int i) {
  return detail::nibble(block.qs, i) | detail::bit(block.qh[i / 8], i % 8) << 4;
}
[[nodiscard]] constexpr int quant(const BlockQ5_1& block, int i) {
  return detail::nibble(block.qs, i) | detail::bit(block.qh[i / 8], i % 8) << 4;
}
[[nodiscard]] constexpr int quant(const BlockQ8_0& block, int i) { return block.qs[i]; }
[[nodiscard]] constexpr int quant(const BlockQ2_K& block, int i) { return detail::two_bits_of(block.qs, i); }
[[nodiscard]] constexpr int quant(const BlockQ3_K& block, int i) {
  return detail::two_bits_of(block.qs, i) | detail::bit(block.hmask[i % 32], i / 32) << 2;
}
[[nodiscard]] constexpr int quant(const BlockQ4_K& block, int i) { return detail::nibble_of(block.qs, i); }
[[nodiscard]] constexpr int quant(const BlockQ5_K& block, int i) {
  return detail::nibble_of(block.qs, i) | detail::bit(block.qh[i % 32], i / 32) << 4;
}
[[nodiscard]] constexpr int quant(const BlockQ6_K& block, int i) {
  const int half = i / 128;
  const int quarter = i / 32 % 4;
  const std::uint8_t low_byte = block.ql[64 * half + 32 * (quarter % 2) + i % 32];
  const int low = quarter < 2 ? detail::low_nibble(low_byte) : detail::high_nibble(low_byte);
  return low | detail::two_bits(block.qh[32 * half + i % 32], 2 * quarter) << 4;
}

}  // namespace inlay
