// Owned memory with an alignment that vector loads like.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

#include <inlay/types.hpp>

namespace inlay {

inline constexpr std::size_t kBufferAlignment = 64;  // a cache line and a 512-bit register

/// `size` zeroed elements of a trivial type, aligned to kBufferAlignment. Allocation failure throws std::bad_alloc,
/// which the API turns into kOutOfMemory.
template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() noexcept = default;
  /// `allocator` may be null or empty: operator new; else it must outlive the buffer.
  explicit AlignedBuffer(std::size_t size, const HostAllocator* allocator = nullptr) : size_(size) {
    if (size > (static_cast<std::size_t>(-1) - kBufferAlignment) / sizeof(T)) throw std::bad_alloc();
    const std::size_t bytes = (size * sizeof(T) + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
    if (bytes == 0) return;
    if (allocator != nullptr && !allocator->allocate) allocator = nullptr;
    void* memory = allocator == nullptr ? ::operator new (bytes, std::align_val_t{kBufferAlignment})
                                        : allocator->allocate(bytes, kBufferAlignment);
    if (memory == nullptr) throw std::bad_alloc();
    data_ = std::unique_ptr<T, Free>(static_cast<T*>(memory), Free{allocator, bytes});
    std::uninitialized_value_construct_n(data_.get(), size);
  }

  [[nodiscard]] T* data() noexcept { return data_.get(); }
  [[nodiscard]] const T* data() const noexcept { return data_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  T& operator[](std::size_t i) noexcept { return data_.get()[i]; }
  const T& operator[](std::size_t i) const noexcept { return data_.get()[i]; }
  [[nodiscard]] std::span<T> span() noexcept { return {data(), size_}; }
  [[nodiscard]] std::span<const T> span() const noexcept { return {data(), size_}; }

 private:
  struct Free {
    const HostAllocator* allocator = nullptr;
    std::size_t bytes = 0;
    void operator()(T* pointer) const noexcept {
      if (allocator != nullptr) {
        allocator->release(pointer, bytes, kBufferAlignment);
      } else {
        ::operator delete (pointer, std::align_val_t{kBufferAlignment});
      }
    }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace inlay
