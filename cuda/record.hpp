// How the multiply kernel wants a matrix: 16 rows (a panel) by 256 columns in one record, in the order in which the
// lanes of a warp load them, as operands of tensor core instructions. A record has the bits of the file's blocks in
// another order, so it takes the same memory (Q3_K, whose scales become bytes, 4% more; a row is filled up to whole
// records).
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/formats.hpp"

namespace inlay::cuda {

inline constexpr int kPanelRows = 16;
inline constexpr int kWarp = 32;
inline constexpr int kRecordColumns = 256;  // of a quantised format
inline constexpr int kSteps = 8;  // products of tensor cores, one after the other, that take a record's columns

// A record of a quantised format:
//
//   low planes | high planes | headers [16 rows] | halves [16 rows]
//
// Columns 32 b ... 32 b + 31 are block b, 0 <= b < 8. Lane 4 g + t holds of every block rows g and g + 8, columns 4 t +
// i and 16 + 4 t + i, 0 <= i < 4: in registers r = 0 ... 3 of four bytes, byte i for column i, r % 2 for the row and r
// / 2 for the upper half of the columns. (This is operand A of mma.m16n8k32, PTX ISA section 9.7.15.) A plane of n bits
// keeps n bits of each quant, those of block b at position n * (b % (8 / n)) of the byte, in a register of its own for
// each r and each b / (8 / n): 16 bytes of a lane stand together, 512 bytes of a warp.

// A granule is the columns of a row that have one scale, or for floats those of a step (lane.cuh).

/// How the scales of a record's row are kept.
enum class Scales : std::uint8_t {
  kSixBits,   // header 16 bytes: d, dmin, scales as in the file (Q4_K, Q5_K)
  kBytes,     // header 16 bytes: int8 scales of 16 columns; halves: d (Q3_K, Q6_K)
  kNibbles,   // header 16 bytes: scales and minimums of 16 columns; halves: d, dmin (Q2_K)
  kHalves,    // header 16 bytes: d of 32 columns (Q4_0, Q5_0, Q8_0)
  kTwoHalves  // header 32 bytes: d of 32 columns, m of 32 columns (Q4_1, Q5_1)
};

/// Quants are kept as numbers of kLowBits + kHighBits bits, `kShift` bits from the right of a byte when they are put
/// together, so that signed ones have their sign in bit 7: the byte is 2^kShift times the quant minus its zero.
template <int LowBits, int HighBits, bool Signed, Scales S>
struct RecordTraits {
  static constexpr int kColumns = kRecordColumns;
  static constexpr int kStepColumns = 32;
  static constexpr int kGranuleColumns = S == Scales::kBytes || S == Scales::kNibbles ? 16 : 32;
  static constexpr bool kMinimums = S == Scales::kSixBits || S == Scales::kNibbles || S == Scales::kTwoHalves;
  static constexpr int kLowBits = LowBits;
  static constexpr int kHighBits = HighBits;
  static constexpr bool kSigned = Signed;
  static constexpr int kShift = Signed ? 8 - LowBits - HighBits : 0;
  static constexpr Scales kScales = S;
  static constexpr int kLowVectors = LowBits;                             // of 16 bytes a lane
  static constexpr int kHighVectors = HighBits;                           // the same
  static constexpr int kHeaderVectors = S == Scales::kTwoHalves ? 2 : 1;  // of 16 bytes a row
  static constexpr int kHalves = S == Scales::kBytes ? 1 : S == Scales::kNibbles ? 2 : 0;
  static constexpr std::size_t kHeaderOffset = std::size_t{16} * kWarp * (LowBits + HighBits);
  static constexpr std::size_t kHalvesOffset = kHeaderOffset + std::size_t{16} * kPanelRows * kHeaderVectors;
  static constexpr std::size_t kBytes = kHalvesOffset + std::size_t{2} * kPanelRows * kHalves;
};

/// A record of floats: steps of k columns, 16 bytes a lane each, operand A of mma.m16n8k16 (halves) or m16n8k8 (tf32).
template <int StepColumns>
struct FloatRecordTraits {
  static constexpr int kColumns = StepColumns * kSteps;
  static constexpr int kStepColumns = StepColumns;
  static constexpr int kGranuleColumns = StepColumns;
  static constexpr bool kMinimums = false;
  static constexpr std::size_t kBytes = std::size_t{16} * kWarp * kSteps;
};

template <class Format>
struct Record;
template <>
struct Record<Q4_0> : RecordTraits<4, 0, true, Scales::kHalves> {};
template <>
struct Record<Q4_1> : RecordTraits<4, 0, false, Scales::kTwoHalves> {};
template <>
struct Record<Q5_0> : RecordTraits<4, 1, true, Scales::kHalves> {};
template <>
struct Record<Q5_1> : RecordTraits<4, 1, false, Scales::kTwoHalves> {};
template <>
struct Record<Q8_0> : RecordTraits<8, 0, true, Scales::kHalves> {};
template <>
struct Record<Q2_K> : RecordTraits<2, 0, false, Scales::kNibbles> {};
template <>
struct Record<Q3_K> : RecordTraits<2, 1, true, Scales::kBytes> {};
template <>
struct Record<Q4_K> : RecordTraits<4, 0, false, Scales::kSixBits> {};
template <>
struct Record<Q5_K> : RecordTraits<4, 1, false, Scales::kSixBits> {};
template <>
struct Record<Q6_K> : RecordTraits<4, 2, true, Scales::kBytes> {};
template <>
struct Record<F16> : FloatRecordTraits<16> {};
template <>
struct Record<BF16> : FloatRecordTraits<16> {};
template <>
struct Record<F32> : FloatRecordTraits<8> {};

/// How the multiply kernel reads the activations that meet a format's weights.
enum class InputKind : std::uint8_t { kInt8, kHalf, kBfloat16, kTf32 };

template <class Format>
inline constexpr InputKind kInputKind = Format::format == inlay::Format::kF16    ? InputKind::kHalf
                                        : Format::format == inlay::Format::kBF16 ? InputKind::kBfloat16
                                        : Format::format == inlay::Format::kF32  ? InputKind::kTf32
                                                                                 : InputKind::kInt8;

/// A matrix in device memory: [panels][records of a row].
struct DeviceMatrix {
  const std::byte* records = nullptr;
  Format format = Format::kF32;
  int n_rows = 0;
  int n_cols = 0;
  int n_records = 0;  // of a row
};

struct RecordInfo {
  int columns = 0;
  std::size_t bytes = 0;
  InputKind input = InputKind::kInt8;
};

[[nodiscard]] constexpr RecordInfo record_info(Format format) {
  RecordInfo info;
  visit(format, [&info](auto traits) {
    using F = decltype(traits);
    info = {Record<F>::kColumns, Record<F>::kBytes, kInputKind<F>};
  });
  return info;
}

[[nodiscard]] constexpr int records_of_row(Format format, int n_cols) {
  const int columns = record_info(format).columns;
  return (n_cols + columns - 1) / columns;
}

[[nodiscard]] constexpr int panels_of(int n_rows) { return (n_rows + kPanelRows - 1) / kPanelRows; }

/// Of the whole matrix.
[[nodiscard]] constexpr std::size_t records_bytes(Format format, int n_rows, int n_cols) {
  return static_cast<std::size_t>(panels_of(n_rows)) * static_cast<std::size_t>(records_of_row(format, n_cols)) *
         record_info(format).bytes;
}

}  // namespace inlay::cuda
