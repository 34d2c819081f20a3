#include "cpu/panel.hpp"

#include <array>
#include <cstring>

#include "base/checked_math.hpp"

namespace inlay::cpu {
namespace {

constexpr int kSteps = 8;  // of four columns in 32

/// Four columns of one row, a byte each.
using Step = std::uint32_t;

Step load_step(const void* bytes, int i) {
  Step step;
  std::memcpy(&step, static_cast<const std::uint8_t*>(bytes) + 4 * static_cast<std::ptrdiff_t>(i), sizeof(step));
  return step;
}

/// The field of kBits bits, `shift` from the right, of every byte.
template <int kBits>
Step field(Step bytes, int shift) {
  constexpr Step kMask = ((1U << static_cast<unsigned>(kBits)) - 1U) * 0x01010101U;
  return (bytes >> static_cast<unsigned>(shift)) & kMask;
}

/// The quants of 32 columns of a row, cut into low and high bits.
struct Steps {
  std::array<Step, kSteps> low;
  std::array<Step, kSteps> high;
};

/// The low nibbles of 16 bytes, then the high ones.
template <class Block>
void read_nibbles(const Block& block, Steps& steps) {
  for (int s = 0; s < 4; ++s) {
    steps.low[static_cast<std::size_t>(s)] = field<4>(load_step(block.qs, s), 0);
    steps.low[static_cast<std::size_t>(s) + 4] = field<4>(load_step(block.qs, s), 4);
  }
}

/// Bit i of four bytes for column i.
template <class Block>
void read_fifth_bits(const Block& block, Steps& steps) {
  const std::uint32_t bits = load_step(block.qh, 0);
  for (unsigned s = 0; s < kSteps; ++s) {
    const std::uint32_t four = (bits >> (4 * s)) & 15U;
    steps.high[s] = (four * 0x00204081U) & 0x01010101U;  // bit i to bit 8 i
  }
}

/// Bits `shift` ... of 32 bytes, one for each column.
template <int kBits>
void read_fields(const std::uint8_t* bytes, int shift, std::array<Step, kSteps>& steps) {
  for (int s = 0; s < kSteps; ++s) steps[static_cast<std::size_t>(s)] = field<kBits>(load_step(bytes, s), shift);
}

Steps read_steps(const BlockQ4_0& block, int /*j*/) {
  Steps steps = {};
  read_nibbles(block, steps);
  return steps;
}
Steps read_steps(const BlockQ4_1& block, int /*j*/) {
  Steps steps = {};
  read_nibbles(block, steps);
  return steps;
}
Steps read_steps(const BlockQ5_0& block, int /*j*/) {
  Steps steps = {};
  read_nibbles(block, steps);
  read_fifth_bits(block, steps);
  return steps;
}
Steps read_steps(const BlockQ5_1& block, int /*j*/) {
  Steps steps = {};
  read_nibbles(block, steps);
  read_fifth_bits(block, steps);
  return steps;
}
Steps read_steps(const BlockQ8_0& block, int /*j*/) {
  Steps steps = {};
  for (int s = 0; s < kSteps; ++s) steps.low[static_cast<std::size_t>(s)] = load_step(block.qs, s);
  return steps;
}
Steps read_steps(const BlockQ2_K& block, int j) {
  Steps steps = {};
  read_fields<2>(block.qs + static_cast<std::ptrdiff_t>(j / 4) * 32, j % 4 * 2, steps.low);
  return steps;
}
Steps read_steps(const BlockQ3_K& block, int j) {
  Steps steps = {};
  read_fields<2>(block.qs + static_cast<std::ptrdiff_t>(j / 4) * 32, j % 4 * 2, steps.low);
  read_fields<1>(block.hmask, j, steps.high);
  return steps;
}
Steps read_steps(const BlockQ4_K& block, int j) {
  Steps steps = {};
  read_fields<4>(block.qs + static_cast<std::ptrdiff_t>(j / 2) * 32, j % 2 * 4, steps.low);
  return steps;
}
Steps read_steps(const BlockQ5_K& block, int j) {
  Steps steps = {};
  read_fields<4>(block.qs + static_cast<std::ptrdiff_t>(j / 2) * 32, j % 2 * 4, steps.low);
  read_fields<1>(block.qh, j, steps.high);
  return steps;
}
Steps read_steps(const BlockQ6_K& block, int j) {
  Steps steps = {};
  const int half = j / 4;
  const int quarter = j % 4;
  read_fields<4>(block.ql + static_cast<std::ptrdiff_t>(64 * half + 32 * (quarter % 2)), quarter / 2 * 4, steps.low);
  read_fields<2>(block.qh + static_cast<std::ptrdiff_t>(half) * 32, quarter * 2, steps.high);
  return steps;
}

/// Writes one row's part of the planes of kBits bits.
template <int kBits>
void write_planes(const std::array<Step, kSteps>& steps, int row, std::byte* planes) {
  for (int plane = 0; plane < kBits; ++plane) {
    Step bytes = 0;
    for (int s = plane; s < kSteps; s += kBits) {
      bytes |= steps[static_cast<std::size_t>(s)] << static_cast<unsigned>(s - plane);
    }
    std::memcpy(planes + static_cast<std::size_t>(plane) * kPlaneBytes + static_cast<std::ptrdiff_t>(row) * 4, &bytes,
                sizeof(bytes));
  }
}

template <class Format>
void write_body(const typename Format::Block& block, int row, std::byte* body) {
  using P = Panel<Format>;
  if constexpr (P::kScaleBytes > 0) {
    for (int i = 0; i < P::kScaleBytes; ++i, body += kPanelRows) {
      body[row] = static_cast<std::byte>(block.scales[i]);
    }
  }
  for (int j = 0; j < Format::block_weights / 32; ++j, body += P::kStepBytes) {
    const Steps steps = read_steps(block, j);
    write_planes<P::kLowBits>(steps.low, row, body);
    if constexpr (P::kHighBits > 0) write_planes<P::kHighBits>(steps.high, row, body + P::kLowBits * kPlaneBytes);
  }
}

template <class Block>
void write_halves(const Block& block, int row, std::byte* halves) {
  std::memcpy(halves + static_cast<std::ptrdiff_t>(row) * 2, &block.d, 2);
  std::byte* second = halves + static_cast<std::ptrdiff_t>(row + kPanelRows) * 2;
  if constexpr (requires { block.m; }) std::memcpy(second, &block.m, 2);
  if constexpr (requires { block.dmin; }) std::memcpy(second, &block.dmin, 2);
}

template <class Format>
void pack(const std::byte* rows, std::size_t row_bytes, int n_rows, int n_cols, std::byte* panel) {
  const int n_blocks = n_cols / Format::block_weights;
  for (int b = 0; b < n_blocks; ++b) {
    for (int row = 0; row < n_rows; ++row) {
      typename Format::Block block;
      std::memcpy(&block,
                  rows + static_cast<std::size_t>(row) * row_bytes + static_cast<std::size_t>(b) * sizeof(block),
                  sizeof(block));
      if constexpr (Format::block_weights == 1) {
        std::memcpy(panel + (static_cast<std::size_t>(b) * kPanelRows + static_cast<std::size_t>(row)) * sizeof(block),
                    &block, sizeof(block));
      } else {
        write_body<Format>(block, row, panel + static_cast<std::size_t>(b) * kBodyBytes<Format>);
        write_halves(block, row,
                     panel + static_cast<std::size_t>(n_blocks) * kBodyBytes<Format> +
                         static_cast<std::size_t>(b) * kHalvesBytes<Format>);
      }
    }
  }
}

}  // namespace

std::size_t panel_bytes(Format format, int n_cols) {
  const std::size_t bytes = kPanelRows * row_bytes(format, static_cast<std::size_t>(n_cols));
  return ceil_div(bytes, kPlaneBytes) * kPlaneBytes;
}

std::size_t panels_bytes(Format format, int n_rows, int n_cols) {
  return static_cast<std::size_t>(ceil_div(n_rows, kPanelRows)) * panel_bytes(format, n_cols);
}

void pack_panel(Format format, const std::byte* rows, std::size_t row_bytes, int n_rows, int n_cols, std::byte* panel) {
  if (n_rows < kPanelRows) std::memset(panel, 0, panel_bytes(format, n_cols));
  visit(format, [&](auto traits) { pack<decltype(traits)>(rows, row_bytes, n_rows, n_cols, panel); });
}

}  // namespace inlay::cpu
