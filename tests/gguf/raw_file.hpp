// GGUF files byte by byte, for tests of what a writer would never write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "gguf/gguf.hpp"

namespace inlay::test {

using Bytes = std::vector<std::byte>;

/// Appends little-endian numbers and strings.
class RawFile {
 public:
  template <class T>
  RawFile& number(T value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  RawFile& u32(std::uint32_t value) { return number(value); }
  RawFile& u64(std::uint64_t value) { return number(value); }
  RawFile& text(std::string_view characters) {
    const auto bytes = std::as_bytes(std::span(characters));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  RawFile& string(std::string_view characters) { return u64(characters.size()).text(characters); }
  RawFile& zeros(std::size_t count) {
    bytes_.resize(bytes_.size() + count);
    return *this;
  }
  RawFile& align(std::size_t alignment) { return zeros((alignment - bytes_.size() % alignment) % alignment); }

  RawFile& header(std::uint64_t n_tensors, std::uint64_t n_metadata, std::uint32_t version = 3) {
    return text("GGUF").u32(version).u64(n_tensors).u64(n_metadata);
  }
  RawFile& key(std::string_view name, gguf::ValueType type) {
    return string(name).u32(static_cast<std::uint32_t>(type));
  }
  RawFile& tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                  std::uint64_t offset) {
    string(name).u32(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t dim : dims) u64(dim);
    return u32(type).u64(offset);
  }

  [[nodiscard]] const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace inlay::test
