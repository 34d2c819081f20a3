#include "cuda/repack.hpp"

#include "quant/packed_scales.hpp"
#include "quant/quants.hpp"

namespace inlay::cuda {
namespace {

/// The block of a row and column, and the column's place in it; null outside of the matrix.
template <class Format>
struct Source {
  const typename Format::Block* blocks;
  int n_rows;
  int n_cols;
  __device__ const typename Format::Block* at(int row, int col) const {
    if (row >= n_rows || col >= n_cols) return nullptr;
    const std::size_t blocks_of_row = static_cast<std::size_t>(n_cols / Format::block_weights);
    return blocks + static_cast<std::size_t>(row) * blocks_of_row + col / Format::block_weights;
  }
};

/// The quant minus its zero as a number of so many bits; unsigned formats keep it as it is in the file.
template <class Format>
__device__ unsigned stored_quant(const Source<Format>& source, int row, int col) {
  using R = Record<Format>;
  const auto* block = source.at(row, col);
  if (block == nullptr) return R::kZero;
  constexpr int kBits = R::kLowBits + R::kHighBits;
  const unsigned q = static_cast<unsigned>(quant(*block, col % Format::block_weights)) & ((1U << kBits) - 1U);
  return R::kSigned && kBits < 8 ? q ^ (1U << (kBits - 1)) : q;
}

/// The bits of a quant of block b that the low or the high plane keeps.
template <class Format, bool kHigh>
__device__ unsigned plane_bits(unsigned q, int b) {
  using R = Record<Format>;
  constexpr int kBits = kHigh ? R::kHighBits : R::kLowBits;
  int first_bit = kHigh ? R::kLowBits : 0;
  if (R::kZero != 0 && SixBitQuants::is_upper(b)) first_bit = kHigh ? 0 : R::kHighBits;
  return q >> first_bit & ((1U << kBits) - 1U);
}

/// Where they stand in their byte.
template <class Format, bool kHigh>
__device__ int plane_place(int b) {
  using R = Record<Format>;
  constexpr int kBits = kHigh ? R::kHighBits : R::kLowBits;
  return kHigh && R::kZero != 0 ? SixBitQuants::high_at(b) : kBits * (b % (8 / kBits));
}

/// 16 bytes of the low or the high plane.
template <class Format, bool kHigh>
__device__ uint4 plane_vector(const Source<Format>& source, int first_row, int first_col, int vector, int lane) {
  using R = Record<Format>;
  constexpr int kBlocks = 8 / (kHigh ? R::kHighBits : R::kLowBits);  // that share a byte
  unsigned registers[4] = {};
  for (int r = 0; r < 4; ++r) {
    const int row = first_row + lane / 4 + 8 * (r % 2);
    for (int i = 0; i < 4; ++i) {
      const int col = first_col + lane % 4 * 4 + 16 * (r / 2) + i;
      for (int b = vector * kBlocks; b < (vector + 1) * kBlocks; ++b) {
        const unsigned q = stored_quant(source, row, col + 32 * b);
        registers[r] |= plane_bits<Format, kHigh>(q, b) << (8 * i + plane_place<Format, kHigh>(b));
      }
    }
  }
  return {registers[0], registers[1], registers[2], registers[3]};
}

/// The scales of a row that belong to class c, as bits from the lowest on, first those of the lowest granule.
template <class Format>
__device__ std::uint64_t class_scales(const Source<Format>& source, int row, int col, int c) {
  constexpr Scales kScales = Record<Format>::kScales;
  std::uint64_t all = 0;
  int n_bits = 0;
  const auto add = [&](unsigned bits, int n) {
    all |= static_cast<std::uint64_t>(bits) << n_bits;
    n_bits += n;
  };
  if constexpr (kScales == Scales::kHalves || kScales == Scales::kTwoHalves) {
    for (int q = c; q < 8; q += 4) {
      const auto* block = source.at(row, col + 32 * q);
      add(block == nullptr ? 0 : block->d, 16);
    }
    if constexpr (kScales == Scales::kTwoHalves) {
      for (int q = c; q < 8; q += 4) {
        const auto* block = source.at(row, col + 32 * q);
        add(block == nullptr ? 0 : block->m, 16);
      }
    }
  } else if (const auto* block = source.at(row, col); block != nullptr) {
    if constexpr (kScales == Scales::kSixBits) {
      for (int q = c; q < 8; q += 4) {
        const ScaleAndMinimum six = unpack_scale_and_minimum(block->scales, q);
        add(six.scale, 6);
        add(six.minimum, 6);
      }
    } else {
      for (int q = c; q < 16; q += 4) {
        if constexpr (Format::format == inlay::Format::kQ3_K) {
          add(static_cast<unsigned>(unpack_q3_scale(block->scales, q) + 128), 8);
        } else if constexpr (kScales == Scales::kBytes) {
          add(static_cast<unsigned>(static_cast<int>(block->scales[q]) + 128), 8);
        } else {
          add(static_cast<unsigned>(block->scales[q]) & 255U, 8);
        }
      }
    }
  }
  return all;
}

/// What belongs to a whole row.
template <class Format>
__device__ unsigned row_scales(const Source<Format>& source, int row, int col) {
  constexpr Scales kScales = Record<Format>::kScales;
  const auto* block = source.at(row, col);
  if (block == nullptr) return 0;
  if constexpr (kScales == Scales::kSixBits || kScales == Scales::kNibbles) {
    return block->d | static_cast<unsigned>(block->dmin) << 16U;
  } else {
    return block->d;
  }
}

/// The lane's scales (record.hpp).
template <class Format>
__device__ void write_scales(const Source<Format>& source, int row, int col, std::byte* record, int lane) {
  using R = Record<Format>;
  constexpr Scales kScales = R::kScales;
  const int rows[2] = {row + lane / 4, row + lane / 4 + 8};
  std::uint64_t both[2];
  for (int i = 0; i < 2; ++i) both[i] = class_scales(source, rows[i], col, lane % 4);
  auto* main = reinterpret_cast<unsigned*>(record + R::kScalesOffset + lane * R::kScaleBytes.main);
  if constexpr (kScales == Scales::kSixBits) {
    const std::uint64_t bits = both[0] | both[1] << 24U;
    main[0] = static_cast<unsigned>(bits);
    reinterpret_cast<std::uint16_t*>(record + R::kRestOffset)[lane] = static_cast<std::uint16_t>(bits >> 32U);
  } else {
    main[0] = static_cast<unsigned>(both[0]), main[1] = static_cast<unsigned>(both[1]);
    if constexpr (kScales == Scales::kTwoHalves) {
      main[2] = static_cast<unsigned>(both[0] >> 32U), main[3] = static_cast<unsigned>(both[1] >> 32U);
    }
  }
  if (R::kScaleBytes.pair == 0 || lane % 4 != 0) return;
  auto* pair = reinterpret_cast<unsigned*>(record + R::kPairsOffset + lane / 4 * R::kScaleBytes.pair);
  const unsigned of_rows[2] = {row_scales(source, rows[0], col), row_scales(source, rows[1], col)};
  if constexpr (kScales == Scales::kBytes) {
    pair[0] = of_rows[0] | of_rows[1] << 16U;
  } else {
    pair[0] = of_rows[0], pair[1] = of_rows[1];
  }
}

template <class Format>
__device__ void pack_quantised(const Source<Format>& source, int row, int col, std::byte* record, int lane) {
  using R = Record<Format>;
  auto* vectors = reinterpret_cast<uint4*>(record);
  for (int v = 0; v < R::kLowVectors; ++v) {
    vectors[v * kWarp + lane] = plane_vector<Format, false>(source, row, col, v, lane);
  }
  if constexpr (R::kHighBits > 0) {
    for (int v = 0; v < R::kHighVectors; ++v) {
      vectors[(R::kLowVectors + v) * kWarp + lane] = plane_vector<Format, true>(source, row, col, v, lane);
    }
  }
  write_scales(source, row, col, record, lane);
}

/// Four 32-bit registers of a step: two columns of halves each, or one of floats (record.hpp).
template <class Format>
__device__ void pack_floats(const Source<Format>& source, int row, int col, std::byte* record, int lane) {
  using R = Record<Format>;
  constexpr int kEach = 4 / static_cast<int>(sizeof(typename Format::Block));
  for (int step = 0; step < kSteps; ++step) {
    unsigned registers[4] = {};
    for (int r = 0; r < 4; ++r) {
      for (int i = 0; i < kEach; ++i) {
        const auto* block = source.at(row + lane / 4 + 8 * (r % 2), col + step * R::kStepColumns + lane % 4 * kEach +
                                                                        r / 2 * (R::kStepColumns / 2) + i);
        if (block == nullptr) continue;
        if constexpr (kEach == 1) {
          registers[r] = __float_as_uint(block->value);
        } else {
          registers[r] |= static_cast<unsigned>(block->value) << (16 * i);
        }
      }
    }
    reinterpret_cast<uint4*>(record)[step * kWarp + lane] = {registers[0], registers[1], registers[2], registers[3]};
  }
}

/// A warp for each record.
template <class Format>
__global__ void repack_kernel(Source<Format> source, int n_records, std::byte* records) {
  const int record = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int row = static_cast<int>(blockIdx.y) * kPanelRows;
  if (record >= n_records) return;
  std::byte* to = records + (static_cast<std::size_t>(blockIdx.y) * static_cast<std::size_t>(n_records) +
                             static_cast<std::size_t>(record)) *
                                Record<Format>::kBytes;
  const int col = record * Record<Format>::kColumns;
  if constexpr (Format::block_weights == 1) {
    pack_floats(source, row, col, to, lane);
  } else {
    pack_quantised(source, row, col, to, lane);
  }
}

}  // namespace

cudaError_t repack(Format format, const std::byte* rows, int n_rows, int n_cols, std::byte* records,
                   cudaStream_t stream) {
  constexpr int kWarpsOfBlock = 4;
  visit(format, [&](auto traits) {
    using F = decltype(traits);
    const Source<F> source{reinterpret_cast<const typename F::Block*>(rows), n_rows, n_cols};
    const int n_records = records_of_row(format, n_cols);
    const dim3 grid(static_cast<unsigned>((n_records + kWarpsOfBlock - 1) / kWarpsOfBlock),
                    static_cast<unsigned>(panels_of(n_rows)));
    repack_kernel<F><<<grid, kWarpsOfBlock * kWarp, 0, stream>>>(source, n_records, records);
  });
  return cudaGetLastError();
}

}  // namespace inlay::cuda
