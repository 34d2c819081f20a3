#include "weights.hpp"

#include <algorithm>
#include <cstring>

#include "base/try.hpp"
#include "quant/encode.hpp"

namespace make_model {
namespace {

constexpr std::size_t kPoolWeights = std::size_t{1} << 18U;
// Pieces short enough that two rows of a matrix hardly ever get the same ones, long enough to be copied fast.
constexpr std::size_t kPieceWeights = 1024;
constexpr std::size_t kBufferPieces = 1024;

}  // namespace

std::vector<float> WeightPools::gaussian(std::size_t count, float mean, float deviation) {
  std::vector<float> values(count);
  // A sum of uniforms, not std::normal_distribution: its values differ between standard libraries.
  for (float& value : values) {
    float sum = -6.0F;
    for (int i = 0; i < 12; ++i) sum += static_cast<float>(random_() >> 8U) * 0x1.0p-24F;
    value = mean + deviation * sum;
  }
  return values;
}

const std::vector<std::byte>& WeightPools::pool(inlay::Format format, float deviation) {
  auto [entry, is_new] = pools_.try_emplace({format, deviation});
  if (is_new) {
    const std::vector<float> values = gaussian(kPoolWeights, 0.0F, deviation);
    entry->second.resize(inlay::row_bytes(format, kPoolWeights));
    inlay::encode_row(format, values.data(), values.size(), entry->second.data());
  }
  return entry->second;
}

inlay::Result<void> WeightPools::write(inlay::Format format, std::uint64_t rows, std::uint64_t columns, float deviation,
                                       inlay::gguf::TensorStream& out) {
  const std::vector<std::byte>& source = pool(format, deviation);
  const std::size_t block_weights = static_cast<std::size_t>(inlay::format_info(format).block_weights);
  const std::size_t block_bytes = inlay::row_bytes(format, block_weights);
  const std::size_t piece_bytes = inlay::row_bytes(format, kPieceWeights);
  const std::size_t starts = (source.size() - piece_bytes) / block_bytes + 1;
  buffer_.resize(piece_bytes * kBufferPieces);
  // Rows are whole blocks: the matrix is one chain of them.
  for (std::uint64_t left = inlay::row_bytes(format, rows * columns); left > 0;) {
    const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer_.size()));
    for (std::size_t done = 0; done < bytes; done += piece_bytes) {
      std::memcpy(buffer_.data() + done, source.data() + random_() % starts * block_bytes,
                  std::min(piece_bytes, bytes - done));
    }
    INLAY_TRY(out.write(std::span(buffer_).first(bytes)));
    left -= bytes;
  }
  return {};
}

}  // namespace make_model
