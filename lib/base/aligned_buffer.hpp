// Owned memory with an alignment that vector loads like.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

namespace inlay {

inline constexpr std::size_t kBufferAlignment = 64;  // a cache line and a 512-bit register

/// `size` zeroed elements of a trivial type, aligned to kBufferAlignment. Allocation failure throws std::bad_alloc,
/// which the API turns into kOutOfMemory.
template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() noexcept = default;
  explicit AlignedBuffer(std::size_t size) : size_(size) {
    if (size > (static_cast<std::size_t>(-1) - kBufferAlignment) / sizeof(T)) throw std::bad_alloc();
    const std::size_t bytes = (size * sizeof(T) + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
    if (bytes == 0) return;
    data_.reset(static_cast<T*>(::operator new (bytes, std::align_val_t{kBufferAlignment})));
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
    void operator()(T* pointer) const noexcept { ::operator delete (pointer, std::align_val_t{kBufferAlignment}); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace inlay
