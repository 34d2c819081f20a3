// How fast this machine reads memory: the limit of decoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <inlay/result.hpp>

namespace inlay_bench {

/// A buffer much larger than the last-level cache, so that summing it reads memory. Not thread-safe.
class ReadBandwidth {
 public:
  /// kOutOfMemory if there is no room for the buffer.
  static inlay::Result<ReadBandwidth> create();

  /// Bytes a second that `threads` threads read together, the best of several passes. At least 1 thread.
  [[nodiscard]] double measure(std::int32_t threads) const;

  [[nodiscard]] std::size_t buffer_bytes() const noexcept { return n_words_ * sizeof(std::uint64_t); }

 private:
  struct Unmap {
    std::size_t bytes = 0;
    void operator()(std::uint64_t* words) const noexcept;
  };
  using Buffer = std::unique_ptr<std::uint64_t[], Unmap>;
  ReadBandwidth(Buffer words, std::size_t n_words) : words_(std::move(words)), n_words_(n_words) {}
  [[nodiscard]] std::span<const std::uint64_t> part(std::int32_t index, std::int32_t count) const noexcept;

  Buffer words_;  // [n_words_]
  std::size_t n_words_;
};

}  // namespace inlay_bench
