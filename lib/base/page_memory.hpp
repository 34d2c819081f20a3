// Large memory straight from the system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <inlay/result.hpp>

namespace inlay {

/// Zeroed memory, page-aligned, committed by the system when it is first written: by the thread, on whose node, that
/// writes it. Asks for huge pages, which spare a stream of weights most of its address translations. Movable.
class PageMemory {
 public:
  PageMemory() noexcept = default;
  /// kOutOfMemory when `bytes` is more than the machine has or the system refuses; the message begins with `what`.
  static Result<PageMemory> take(std::uint64_t bytes, std::string_view what);

  PageMemory(PageMemory&& other) noexcept;
  PageMemory& operator=(PageMemory&& other) noexcept;
  PageMemory(const PageMemory&) = delete;
  PageMemory& operator=(const PageMemory&) = delete;
  ~PageMemory();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  PageMemory(std::byte* data, std::size_t size) noexcept : data_(data), size_(size) {}

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace inlay
