// Tells model files apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gguf/gguf.hpp"

namespace inlay {

/// Of n bytes: XXH3, 64 bits (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md).
[[nodiscard]] std::uint64_t hash_bytes(std::span<const std::byte> bytes) noexcept;

/// Of the header and the first 4 KiB of every tensor's data: a fine-tuned model differs from its base in all of its
/// matrices. `file` was parsed from `bytes`.
[[nodiscard]] std::uint64_t fingerprint(const gguf::File& file, std::span<const std::byte> bytes) noexcept;

}  // namespace inlay
