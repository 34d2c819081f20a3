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

/// The quant minus its zero as a number of so many bits; unsigned formats have no zero.
template <class Format>
__device__ unsigned stored_quant(const Source<Format>& source, int row, int col) {
  using R = Record<Format>;
  const auto* block = source.at(row, col);
  if (block == nullptr) return 0;
  constexpr int kBits = R::kLowBits + R::kHighBits;
  const unsigned q = static_cast<unsigned>(quant(*block, col % Format::block_weights)) & ((1U << kBits) - 1U);
  return R::kSigned && kBits < 8 ? q ^ (1U << (kBits - 1)) : q;
}

/// 16 bytes of a plane that keeps the bits from kFirstBit on.
template <class Format, int kBits, int kFirstBit>
__device__ uint4 plane_vector(const Source<Format>& source, int first_row, int first_col, int vector, int lane) {
  constexpr int kBlocks = 8 / kBits;  // that share a byte
  unsigned registers[4] = {};
  for (int r = 0; r < 4; ++r) {
    const int row = first_row + lane / 4 + 8 * (r % 2);
    for (int i = 0; i < 4; ++i) {
      const int col = first_col + lane % 4 * 4 + 16 * (r / 2) + i;
      for (int b = 0; b < kBlocks; ++b) {
        const unsigned q = stored_quant(source, row, col + 32 * (vector * kBlocks + b));
        registers[r] |= (q >> kFirstBit & ((1U << kBits) - 1U)) << (8 * i + kBits * b);
      }
    }
  }
  return {registers[0], registers[1], registers[2], registers[3]};
}

/// What stands before the quants of a row: bytes of the header, halves behind the headers.
template <class Format>
__device__ void write_scales(const Source<Format>& source, int row, int col, std::uint8_t* header,
                             std::uint16_t* halves) {
  using R = Record<Format>;
  auto* header_halves = reinterpret_cast<std::uint16_t*>(header);
  if constexpr (R::kScales == Scales::kHalves || R::kScales == Scales::kTwoHalves) {
    for (int b = 0; b < 8; ++b) {
      const auto* block = source.at(row, col + 32 * b);
      header_halves[b] = block == nullptr ? 0 : block->d;
      if constexpr (R::kScales == Scales::kTwoHalves) header_halves[8 + b] = block == nullptr ? 0 : block->m;
    }
  } else {
    const auto* block = source.at(row, col);
    for (int i = 0; i < 8; ++i) header_halves[i] = 0;
    for (int i = 0; i < R::kHalves; ++i) halves[i] = 0;
    if (block == nullptr) return;
    if constexpr (R::kScales == Scales::kSixBits) {
      header_halves[0] = block->d;
      header_halves[1] = block->dmin;
      for (int i = 0; i < 12; ++i) header[4 + i] = block->scales[i];
    } else {
      halves[0] = block->d;
      if constexpr (R::kScales == Scales::kNibbles) halves[1] = block->dmin;
      for (int i = 0; i < 16; ++i) {
        if constexpr (Format::format == inlay::Format::kQ3_K) {
          header[i] = static_cast<std::uint8_t>(unpack_q3_scale(block->scales, i));
        } else {
          header[i] = static_cast<std::uint8_t>(block->scales[i]);
        }
      }
    }
  }
}

template <class Format>
__device__ void pack_quantised(const Source<Format>& source, int row, int col, std::byte* record, int lane) {
  using R = Record<Format>;
  auto* vectors = reinterpret_cast<uint4*>(record);
  for (int v = 0; v < R::kLowVectors; ++v) {
    vectors[v * kWarp + lane] = plane_vector<Format, R::kLowBits, 0>(source, row, col, v, lane);
  }
  if constexpr (R::kHighBits > 0) {
    for (int v = 0; v < R::kHighVectors; ++v) {
      vectors[(R::kLowVectors + v) * kWarp + lane] =
          plane_vector<Format, R::kHighBits, R::kLowBits>(source, row, col, v, lane);
    }
  }
  if (lane >= kPanelRows) return;
  write_scales(source, row + lane, col,
               reinterpret_cast<std::uint8_t*>(record + R::kHeaderOffset) + lane * 16 * R::kHeaderVectors,
               reinterpret_cast<std::uint16_t*>(record + R::kHalvesOffset) + lane * R::kHalves);
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
