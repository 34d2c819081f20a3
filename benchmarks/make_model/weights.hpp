// Random weights in any format, faster than they can be encoded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "gguf/writer.hpp"
#include "quant/formats.hpp"

namespace make_model {

/// Encodes a pool of gaussian weights once per format and deviation, and deals out pieces of it with random starts.
class WeightPools {
 public:
  explicit WeightPools(std::uint32_t seed) : random_(seed) {}

  /// Writes rows * columns weights of this standard deviation. `columns` is a multiple of the format's block.
  inlay::Result<void> write(inlay::Format format, std::uint64_t rows, std::uint64_t columns, float deviation,
                            inlay::gguf::TensorStream& out);

  /// Gaussian weights of their own.
  std::vector<float> gaussian(std::size_t count, float mean, float deviation);

 private:
  const std::vector<std::byte>& pool(inlay::Format format, float deviation);

  std::mt19937 random_;
  std::map<std::pair<inlay::Format, float>, std::vector<std::byte>> pools_;
  std::vector<std::byte> buffer_;
};

}  // namespace make_model
