#include "runtime/fingerprint.hpp"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace inlay {
namespace {

constexpr std::size_t kSampleBytes = 4096;

std::uint64_t hash_more(std::uint64_t so_far, std::span<const std::byte> bytes) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), so_far);
}

}  // namespace

std::uint64_t hash_bytes(std::span<const std::byte> bytes) noexcept { return XXH3_64bits(bytes.data(), bytes.size()); }

std::uint64_t fingerprint(const gguf::File& file, std::span<const std::byte> bytes) noexcept {
  std::uint64_t hash = hash_more(bytes.size(), bytes.first(file.header_bytes()));
  for (const gguf::Tensor& tensor : file.tensors()) {
    hash = hash_more(hash, tensor.data.first(std::min(kSampleBytes, tensor.data.size())));
  }
  return hash;
}

}  // namespace inlay
