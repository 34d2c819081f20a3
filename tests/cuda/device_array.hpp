// Device memory for tests, filled from and read back to vectors.
#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

namespace inlay::test {

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t size) : size_(size) {
    REQUIRE(cudaMalloc(&data_, (size + 1) * sizeof(T)) == cudaSuccess);
    REQUIRE(cudaMemset(data_, 0xFF, (size + 1) * sizeof(T)) == cudaSuccess);  // poison: NaN, -1
  }
  explicit DeviceArray(std::span<const T> values) : DeviceArray(values.size()) {
    REQUIRE(cudaMemcpy(data_, values.data(), values.size_bytes(), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(std::span<const T>(values)) {}
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  [[nodiscard]] T* data() const { return static_cast<T*>(data_); }
  /// Waits for the device.
  [[nodiscard]] std::vector<T> read() const {
    std::vector<T> values(size_);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
    REQUIRE(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
    return values;
  }

 private:
  void* data_ = nullptr;
  std::size_t size_;
};

}  // namespace inlay::test
