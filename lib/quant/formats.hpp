// The weight formats of GGUF files: one block struct and one traits row each. Everything that handles formats (reader,
// reference decoder, kernels, tests, benchmarks) is generated from `WeightFormats`.
//
// Sources: the GGUF specification (tensor types and their numbers) and the block layouts as ggml publishes them.
// All numbers are little-endian. `half` is IEEE binary16 stored in a uint16_t.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace inlay {

/// Tensor types with the numbers that GGUF gives them.
enum class Format : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

inline constexpr int kSmallBlock = 32;   // weights per block of Q4_0 ... Q8_0
inline constexpr int kSuperBlock = 256;  // weights per block of the K formats

struct BlockF32 {
  float value;
};
struct BlockF16 {
  std::uint16_t value;
};
struct BlockBF16 {
  std::uint16_t value;
};

// | d: half | qs: 16 bytes |   weight i < 16: low nibble of qs[i]; weight 16 + i: high nibble.   x = d * (q - 8)
struct BlockQ4_0 {
  std::uint16_t d;
  std::uint8_t qs[kSmallBlock / 2];
};
static_assert(sizeof(BlockQ4_0) == 18);

// | d: half | m: half | qs: 16 bytes |   nibbles as Q4_0.   x = d * q + m
struct BlockQ4_1 {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qs[kSmallBlock / 2];
};
static_assert(sizeof(BlockQ4_1) == 20);

// | d: half | qh: 4 bytes | qs: 16 bytes |   bit i of qh (a little-endian uint32) is bit 4 of weight i.   x = d * (q -
// 16)
struct BlockQ5_0 {
  std::uint16_t d;
  std::uint8_t qh[4];
  std::uint8_t qs[kSmallBlock / 2];
};
static_assert(sizeof(BlockQ5_0) == 22);

// | d: half | m: half | qh: 4 bytes | qs: 16 bytes |   bits as Q5_0.   x = d * q + m
struct BlockQ5_1 {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qh[4];
  std::uint8_t qs[kSmallBlock / 2];
};
static_assert(sizeof(BlockQ5_1) == 24);

// | d: half | qs: 32 int8 |   x = d * q
struct BlockQ8_0 {
  std::uint16_t d;
  std::int8_t qs[kSmallBlock];
};
static_assert(sizeof(BlockQ8_0) == 34);

// | scales: 16 bytes | qs: 64 bytes | d: half | dmin: half |
// 16 groups of 16 weights; scales[g]: low nibble scale, high nibble minimum. Weight 128 h + 32 j + l (h < 2, j < 4,
// l < 32) is bits 2j, 2j+1 of qs[32 h + l].   x = d * scale * q - dmin * minimum
struct BlockQ2_K {
  std::uint8_t scales[kSuperBlock / 16];
  std::uint8_t qs[kSuperBlock / 4];
  std::uint16_t d;
  std::uint16_t dmin;
};
static_assert(sizeof(BlockQ2_K) == 84);

// | hmask: 32 bytes | qs: 64 bytes | scales: 12 bytes | d: half |
// 16 groups of 16 weights with a 6-bit scale each, stored plus 32 (packing: see reference.cpp). Two low bits as Q2_K;
// the third is bit 4h + j of hmask[l].   x = d * (scale - 32) * (q - 4)
struct BlockQ3_K {
  std::uint8_t hmask[kSuperBlock / 8];
  std::uint8_t qs[kSuperBlock / 4];
  std::uint8_t scales[12];
  std::uint16_t d;
};
static_assert(sizeof(BlockQ3_K) == 110);

// | d: half | dmin: half | scales: 12 bytes | qs: 128 bytes |
// 8 groups of 32 weights with a 6-bit scale and a 6-bit minimum each (packing: see reference.cpp). Weights 64 j + l
// (j < 4, l < 32) are the low, 64 j + 32 + l the high nibbles of qs[32 j + l].   x = d * scale * q - dmin * minimum
struct BlockQ4_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[12];
  std::uint8_t qs[kSuperBlock / 2];
};
static_assert(sizeof(BlockQ4_K) == 144);

// | d: half | dmin: half | scales: 12 bytes | qh: 32 bytes | qs: 128 bytes |
// As Q4_K; bit 4 of the weight l of group g is bit g of qh[l].   x = d * scale * q - dmin * minimum
struct BlockQ5_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[12];
  std::uint8_t qh[kSuperBlock / 8];
  std::uint8_t qs[kSuperBlock / 2];
};
static_assert(sizeof(BlockQ5_K) == 176);

// | ql: 128 bytes | qh: 64 bytes | scales: 16 int8 | d: half |
// 16 groups of 16 weights. Weight 128 h + 32 j + l: low nibble (j < 2) or high nibble (j >= 2) of ql[64 h + 32 (j % 2)
// + l], bits 4, 5 from bits 2j, 2j+1 of qh[32 h + l].   x = d * scale * (q - 32)
struct BlockQ6_K {
  std::uint8_t ql[kSuperBlock / 2];
  std::uint8_t qh[kSuperBlock / 4];
  std::int8_t scales[kSuperBlock / 16];
  std::uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

/// What the rest of the code asks of a format.
template <Format F, class BlockT, int Weights>
struct FormatTraits {
  static constexpr Format format = F;
  using Block = BlockT;
  static constexpr int block_weights = Weights;  // weights a block
  static constexpr int block_bytes = sizeof(BlockT);
  static_assert(std::is_trivially_copyable_v<BlockT>);
};

struct F32 : FormatTraits<Format::kF32, BlockF32, 1> {
  static constexpr const char* name = "F32";
};
struct F16 : FormatTraits<Format::kF16, BlockF16, 1> {
  static constexpr const char* name = "F16";
};
struct BF16 : FormatTraits<Format::kBF16, BlockBF16, 1> {
  static constexpr const char* name = "BF16";
};
struct Q4_0 : FormatTraits<Format::kQ4_0, BlockQ4_0, kSmallBlock> {
  static constexpr const char* name = "Q4_0";
};
struct Q4_1 : FormatTraits<Format::kQ4_1, BlockQ4_1, kSmallBlock> {
  static constexpr const char* name = "Q4_1";
};
struct Q5_0 : FormatTraits<Format::kQ5_0, BlockQ5_0, kSmallBlock> {
  static constexpr const char* name = "Q5_0";
};
struct Q5_1 : FormatTraits<Format::kQ5_1, BlockQ5_1, kSmallBlock> {
  static constexpr const char* name = "Q5_1";
};
struct Q8_0 : FormatTraits<Format::kQ8_0, BlockQ8_0, kSmallBlock> {
  static constexpr const char* name = "Q8_0";
};
struct Q2_K : FormatTraits<Format::kQ2_K, BlockQ2_K, kSuperBlock> {
  static constexpr const char* name = "Q2_K";
};
struct Q3_K : FormatTraits<Format::kQ3_K, BlockQ3_K, kSuperBlock> {
  static constexpr const char* name = "Q3_K";
};
struct Q4_K : FormatTraits<Format::kQ4_K, BlockQ4_K, kSuperBlock> {
  static constexpr const char* name = "Q4_K";
};
struct Q5_K : FormatTraits<Format::kQ5_K, BlockQ5_K, kSuperBlock> {
  static constexpr const char* name = "Q5_K";
};
struct Q6_K : FormatTraits<Format::kQ6_K, BlockQ6_K, kSuperBlock> {
  static constexpr const char* name = "Q6_K";
};

template <class... Formats>
struct FormatList {
  static constexpr int size = sizeof...(Formats);
};

/// Every format that inlay reads.
using WeightFormats = FormatList<F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K>;

namespace detail {
template <class Visitor, class... Formats>
constexpr bool visit_list(Format format, Visitor& visitor, FormatList<Formats...> /*list*/) {
  return ((Formats::format == format ? (visitor(Formats{}), true) : false) || ...);
}
template <class Visitor, class... Formats>
constexpr void for_each_list(Visitor& visitor, FormatList<Formats...> /*list*/) {
  (visitor(Formats{}), ...);
}
}  // namespace detail

/// Calls `visitor(Traits{})` with the traits of `format`; false when inlay does not know it (the visitor is not
/// called).
template <class Visitor>
constexpr bool visit(Format format, Visitor&& visitor) {
  return detail::visit_list(format, visitor, WeightFormats{});
}

/// Calls `visitor(Traits{})` for every format, in the order of the list.
template <class Visitor>
constexpr void for_each_format(Visitor&& visitor) {
  detail::for_each_list(visitor, WeightFormats{});
}

/// The same facts for code that has the format as a value. All zero / null for an unknown format.
struct FormatInfo {
  const char* name = nullptr;
  int block_weights = 0;
  int block_bytes = 0;
};

[[nodiscard]] constexpr FormatInfo format_info(Format format) {
  FormatInfo info;
  visit(format, [&info](auto traits) {
    using Traits = decltype(traits);
    info = FormatInfo{Traits::name, Traits::block_weights, Traits::block_bytes};
  });
  return info;
}

/// The position of a format in `WeightFormats`, for tables indexed by format; -1 when unknown.
[[nodiscard]] constexpr int format_index(Format format) {
  int position = 0;
  int found = -1;
  for_each_format([&](auto traits) {
    if (decltype(traits)::format == format) found = position;
    ++position;
  });
  return found;
}

/// Bytes of a row of `weights` weights, a multiple of block_weights. The format is one of the list.
[[nodiscard]] constexpr std::size_t row_bytes(Format format, std::size_t weights) {
  const FormatInfo info = format_info(format);
  // NOLINTNEXTLINE(clang-analyzer-core.DivideZero): only an unknown format has no weights in a block
  return weights / static_cast<std::size_t>(info.block_weights) * static_cast<std::size_t>(info.block_bytes);
}

}  // namespace inlay
