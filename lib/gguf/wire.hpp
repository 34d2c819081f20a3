// Numbers and names between a GGUF file and the program, shared by the reader, the values and the writer.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

#include "gguf/gguf.hpp"

namespace inlay::gguf {

static_assert(std::endian::native == std::endian::little, "the file's little-endian numbers are read as they stand");

/// An array's length and every string's length prefix.
using Length = std::uint64_t;

/// Files without general.alignment align their tensors to this many bytes.
inline constexpr std::uint64_t kDefaultAlignment = 32;
/// The largest general.alignment accepted: far above a page or a cache line, far below what would make padding a
/// burden.
inline constexpr std::uint64_t kMaxAlignment = 65536;
inline constexpr std::string_view kAlignmentKey = "general.alignment";

/// Reads a number that stands at any address.
template <class T>
[[nodiscard]] T load(const std::byte* bytes) noexcept {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

/// Bytes of a number of this type; 0 for strings, arrays and unknown types.
[[nodiscard]] std::size_t scalar_bytes(ValueType type) noexcept;

/// "name" in quotes for a message: bytes that do not print are escaped, long names cut.
[[nodiscard]] std::string quoted(std::string_view name);

/// The position in `order` (positions of `entries`, sorted by their name) of the entry called `name`, or null.
template <class Entries, class NameOf>
[[nodiscard]] auto find_by_name(const Entries& entries, const std::vector<std::uint32_t>& order, std::string_view name,
                                const NameOf& name_of) noexcept -> decltype(entries.data()) {
  std::size_t low = 0;
  std::size_t high = order.size();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (name_of(entries[order[middle]]) < name) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == order.size() || name_of(entries[order[low]]) != name) return nullptr;
  return entries.data() + order[low];
}

}  // namespace inlay::gguf
