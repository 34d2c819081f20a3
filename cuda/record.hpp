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
inline constexpr int kClasses = 4;          // of granules
inline constexpr int kSteps = 8;  // products of tensor cores, one after the other, that take a record's columns

// A record of a quantised format:
//
//   low planes | high planes | lane scales [32 lanes] | their rest [32 lanes] | pair scales [8 pairs of rows]
//
// Columns 32 b ... 32 b + 31 are block b, 0 <= b < 8. Lane 4 g + t holds of every block rows g and g + 8, columns 4 t +
// i and 16 + 4 t + i, 0 <= i < 4: in registers r = 0 ... 3 of four bytes, byte i for column i, r % 2 for the row and r
// / 2 for the upper half of the columns. (This is operand A of mma.m16n8k32, PTX ISA section 9.7.15.) A plane of n bits
// keeps n bits of each quant, those of block b at position n * (b % (8 / n)) of the byte, in a register of its own for
// each r and each b / (8 / n): 16 bytes of a lane stand together, 512 bytes of a warp. Six bits are split otherwise
// (SixBitQuants).
//
// A granule is the columns of a row that have one scale, or for floats those of a step (lane.cuh). Granule q belongs to
// class q % 4. Lane 4 g + t keeps the scales of class t of rows g and g + 8, and the four lanes of a pair of rows share
// what belongs to whole rows.

/// How the scales of a pair of rows are kept; "both" are rows g and g + 8, one after the other.
enum class Scales : std::uint8_t {
  kSixBits,   // lane: six bits each of scale, minimum of two granules of both; pair: d, dmin of both (Q4_K, Q5_K)
  kBytes,     // lane: int8 scale + 128 of four granules of both; pair: d of both (Q3_K, Q6_K)
  kNibbles,   // lane: scale, minimum in a byte of four granules of both; pair: d, dmin of both (Q2_K)
  kHalves,    // lane: d of two granules of both (Q4_0, Q5_0, Q8_0)
  kTwoHalves  // lane: d of two granules of both, then m of them (Q4_1, Q5_1)
};

/// Bytes of what a lane keeps: `main` of it at the lane's place, `rest` in an array of its own (so that both can be
/// copied at once), and what a pair of rows shares.
struct ScaleBytes {
  int main;
  int rest;
  int pair;
};
[[nodiscard]] constexpr ScaleBytes scale_bytes(Scales scales) {
  switch (scales) {
    case Scales::kSixBits:
      return {4, 2, 8};
    case Scales::kBytes:
      return {8, 0, 4};
    case Scales::kNibbles:
      return {8, 0, 8};
    case Scales::kHalves:
      return {8, 0, 0};
    case Scales::kTwoHalves:
      break;
  }
  return {16, 0, 0};
}

/// Quants are kept as numbers of kLowBits + kHighBits bits, `kShift` bits from the right of a byte when they are put
/// together, so that signed ones have their sign in bit 7: the byte is 2^kShift times the quant minus its zero.
/// Unsigned ones have no zero, or kZero, which the product takes off.
template <int LowBits, int HighBits, bool Signed, Scales S>
struct RecordTraits {
  static constexpr int kColumns = kRecordColumns;
  static constexpr int kStepColumns = 32;
  static constexpr int kGranuleColumns = S == Scales::kBytes || S == Scales::kNibbles ? 16 : 32;
  static constexpr bool kMinimums = S == Scales::kSixBits || S == Scales::kNibbles || S == Scales::kTwoHalves;
  static constexpr int kLowBits = LowBits;
  static constexpr int kHighBits = HighBits;
  static constexpr bool kSigned = Signed;
  static constexpr int kZero = 0;
  static constexpr int kShift = Signed ? 8 - LowBits - HighBits : 0;
  static constexpr Scales kScales = S;
  static constexpr int kLowVectors = LowBits;    // of 16 bytes a lane
  static constexpr int kHighVectors = HighBits;  // the same
  static constexpr int kVectors = kLowVectors + kHighVectors;
  static constexpr ScaleBytes kScaleBytes = scale_bytes(S);
  static constexpr std::size_t kScalesOffset = std::size_t{16} * kWarp * kVectors;
  static constexpr std::size_t kRestOffset = kScalesOffset + std::size_t{kWarp} * kScaleBytes.main;
  static constexpr std::size_t kPairsOffset = kRestOffset + std::size_t{kWarp} * kScaleBytes.rest;
  static constexpr std::size_t kBytes = kPairsOffset + std::size_t{kPanelRows / 2} * kScaleBytes.pair;
};

/// Where the six bits of a quant of block b stand, so that two operations put most of them together: its low nibble in
/// the lower half of the byte of the low plane and its upper two bits from bit kHighAt on of the high plane's byte, or,
/// of odd blocks, its upper four bits in the upper half and its lower two from there.
struct SixBitQuants {
  [[nodiscard]] static constexpr bool is_upper(int b) { return b % 2 == 1; }
  [[nodiscard]] static constexpr int high_at(int b) {
    constexpr int kHighAt[4] = {4, 2, 0, 6};
    return kHighAt[b % 4];
  }
};

/// A record of floats: steps of k columns, 16 bytes a lane each, operand A of mma.m16n8k16 (halves) or m16n8k8 (tf32).
template <int StepColumns>
struct FloatRecordTraits {
  static constexpr int kColumns = StepColumns * kSteps;
  static constexpr int kStepColumns = StepColumns;
  static constexpr int kGranuleColumns = StepColumns;
  static constexpr bool kMinimums = false;
  static constexpr int kVectors = kSteps;
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
struct Record<Q6_K> : RecordTraits<4, 2, false, Scales::kBytes> {
  static constexpr int kZero = 32;
};
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
  int slot_bytes = 0;  // in shared memory: 16 for a lane's scales
  InputKind input = InputKind::kInt8;
};

[[nodiscard]] constexpr RecordInfo record_info(Format format) {
  RecordInfo info;
  visit(format, [&info](auto traits) {
    using F = decltype(traits);
    const int n_vectors = Record<F>::kVectors + (F::block_weights == 1 ? 0 : 1);
    info = {Record<F>::kColumns, Record<F>::kBytes, 16 * kWarp * n_vectors, kInputKind<F>};
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
