// Inputs for kernel tests: random numbers, and blocks of every format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "quant/formats.hpp"

namespace inlay::test {

using Random = std::mt19937;

/// n floats, normally distributed.
std::vector<float> random_floats(Random& random, std::size_t n, float deviation = 1.0F);

enum class Fill {
  kRandom,  // any bits
  kOnes,    // all bits set: the largest unsigned, the smallest signed non-zero quants
  kZeros,
  kSign,  // 0x80 in every byte: -128 as int8
};

/// Rows of blocks whose scales are finite; the other bytes as `fill` says. The first block is at `data()`, an odd
/// address, and the last byte is the last of the allocation.
class Blocks {
 public:
  Blocks(Random& random, Format format, int rows, int n_cols, Fill fill);
  [[nodiscard]] const std::byte* data() const { return bytes_.data() + 1; }
  [[nodiscard]] std::size_t row_bytes() const { return row_bytes_; }
  [[nodiscard]] const std::byte* row(int i) const { return data() + static_cast<std::size_t>(i) * row_bytes_; }

 private:
  std::size_t row_bytes_;
  std::vector<std::byte> bytes_;
};

}  // namespace inlay::test
