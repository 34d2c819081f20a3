// Where all memory of an executor comes from, on the device and page-locked on the host.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include <inlay/result.hpp>

namespace inlay::cuda {

enum class MemoryKind : std::uint8_t { kDevice, kPinnedHost };

/// Owned memory, 256-byte aligned. Frees itself; the device it was taken on need not be current.
class Memory {
 public:
  Memory() noexcept = default;
  Memory(void* data, std::size_t bytes, MemoryKind kind) noexcept : data_(data), bytes_(bytes), kind_(kind) {}
  ~Memory();
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    swap(other);
    return *this;
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  template <class T = std::byte>
  [[nodiscard]] T* as() const noexcept {
    return static_cast<T*>(data_);
  }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  void swap(Memory& other) noexcept {
    std::swap(data_, other.data_), std::swap(bytes_, other.bytes_), std::swap(kind_, other.kind_);
  }
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  MemoryKind kind_ = MemoryKind::kDevice;
};

class DevicePool {
 public:
  /// Memory of the current device. `what` names it in the message of kOutOfMemory. No bytes are no memory.
  static Result<Memory> take(std::size_t bytes, MemoryKind kind, const char* what);

  /// For tests: the allocation after `n` others fails, once; negative: none does. Of the whole process.
  static void fail_after(int n) noexcept;
};

}  // namespace inlay::cuda
