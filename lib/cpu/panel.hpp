// How the vector kernels want a matrix: its rows in panels of 16, interleaved so that one load holds the same four
// columns of 16 rows. A panel has the bits of the 16 rows as they are in the file, in another order, so it takes the
// same memory (up to the padding to whole cache lines).
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/formats.hpp"

namespace inlay::cpu {

inline constexpr int kPanelRows = 16;
inline constexpr std::size_t kPlaneBytes = 64;  // four columns of 16 rows, a byte each: byte 4 * row + column

// A quantised panel: for each block of the rows (32 or 256 columns) its body, then for each block its halves.
//
//   body    | scale bytes [kScaleBytes][16 rows] | for every 32 columns: low planes, high planes |
//   halves  | d [16 rows] | dmin or m [16 rows] |
//
// The 32 columns are eight groups of four, called steps. kBits (1, 2, 4 or 8) bits of each quant are kept in kBits
// planes: those of step s in plane s % kBits, kBits * (s / kBits) bits from the right of each byte.
//
// A panel of floats is [n_cols][16 rows].

/// What there is of a quantised format in its panel. The value of a weight is scale * (q - kZero) + minimum.
template <int LowBits, int HighBits, int Group, int ScaleBytes, int Zero, bool Minimums>
struct PanelTraits {
  static constexpr int kLowBits = LowBits;        // of each quant, kept in planes of their own
  static constexpr int kHighBits = HighBits;      // above them
  static constexpr int kGroup = Group;            // columns that share a scale
  static constexpr int kScaleBytes = ScaleBytes;  // a row and block, as in the file
  static constexpr int kZero = Zero;
  static constexpr bool kMinimums = Minimums;
  static constexpr int kHalves = Minimums ? 2 : 1;
  static constexpr int kMaxQuant = (1 << (LowBits + HighBits)) - 1;
  static constexpr std::size_t kStepBytes = (LowBits + HighBits) * kPlaneBytes;  // of 32 columns
};

template <class Format>
struct Panel;

// Q8_0 keeps its quants as int8; read as uint8 with the sign bit flipped they have a zero of 128.
template <>
struct Panel<Q4_0> : PanelTraits<4, 0, 32, 0, 8, false> {};
template <>
struct Panel<Q4_1> : PanelTraits<4, 0, 32, 0, 0, true> {};
template <>
struct Panel<Q5_0> : PanelTraits<4, 1, 32, 0, 16, false> {};
template <>
struct Panel<Q5_1> : PanelTraits<4, 1, 32, 0, 0, true> {};
template <>
struct Panel<Q8_0> : PanelTraits<8, 0, 32, 0, 128, false> {};
template <>
struct Panel<Q2_K> : PanelTraits<2, 0, 16, 16, 0, true> {};
template <>
struct Panel<Q3_K> : PanelTraits<2, 1, 16, 12, 4, false> {};
template <>
struct Panel<Q4_K> : PanelTraits<4, 0, 32, 12, 0, true> {};
template <>
struct Panel<Q5_K> : PanelTraits<4, 1, 32, 12, 0, true> {};
template <>
struct Panel<Q6_K> : PanelTraits<4, 2, 16, 16, 32, false> {};

/// Bytes of a block of the panel's rows without its halves.
template <class Format>
inline constexpr std::size_t kBodyBytes = Panel<Format>::kScaleBytes* std::size_t{kPanelRows} +
                                          Panel<Format>::kStepBytes* static_cast<std::size_t>(Format::block_weights /
                                                                                              32);

/// Bytes of a block's halves.
template <class Format>
inline constexpr std::size_t kHalvesBytes = Panel<Format>::kHalves* kPanelRows * sizeof(std::uint16_t);

/// Bytes from one panel of a matrix to the next.
[[nodiscard]] std::size_t panel_bytes(Format format, int n_cols);

/// Of all panels of a matrix; the last one is filled up with rows of zeros.
[[nodiscard]] std::size_t panels_bytes(Format format, int n_rows, int n_cols);

/// Writes the panel of `n_rows` (1 to 16) rows as they stand in a file, without alignment, `row_bytes` apart.
void pack_panel(Format format, const std::byte* rows, std::size_t row_bytes, int n_rows, int n_cols, std::byte* panel);

}  // namespace inlay::cpu
