// Large memory straight from the system, or from the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <inlay/result.hpp>
#include <inlay/types.hpp>

namespace inlay {

/// Zeroed memory. Movable.
///
/// The system's is page-aligned and committed when it is first written: by the thread, on whose node, that writes it.
/// The host's is aligned to kBufferAlignment.
class PageMemory {
 public:
  enum class PageSize : std::uint8_t {
    kSystem,  // parts of it can be discarded
    kHuge,    // asked for, not insisted on: they spare a stream of weights most of its address translations
  };

  PageMemory() noexcept = default;
  /// kOutOfMemory when `bytes` is more than the machine has or is refused; the message begins with `what`. `allocator`
  /// may be null or empty; else it must outlive the memory.
  static Result<PageMemory> take(std::uint64_t bytes, std::string_view what, PageSize pages,
                                 const HostAllocator* allocator);

  PageMemory(PageMemory&& other) noexcept;
  PageMemory& operator=(PageMemory&& other) noexcept;
  PageMemory(const PageMemory&) = delete;
  PageMemory& operator=(const PageMemory&) = delete;
  ~PageMemory();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Whether it is the host's.
  [[nodiscard]] bool is_hosts() const noexcept { return allocator_ != nullptr; }

 private:
  PageMemory(std::byte* data, std::size_t size, const HostAllocator* allocator) noexcept
      : data_(data), size_(size), allocator_(allocator) {}

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  const HostAllocator* allocator_ = nullptr;  // where it is from; null: the system
};

}  // namespace inlay
