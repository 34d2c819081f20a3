// Device memory whose contents come late: first it has absent words (cuda/arrival.cuh), then what it is to have, copied
// while a kernel waits for it.
#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "cuda/activations.hpp"
#include "cuda/device_array.hpp"

namespace inlay::test {

/// One for kernels, one for what comes meanwhile.
struct Streams {
  Streams() {
    REQUIRE(cudaStreamCreateWithFlags(&work, cudaStreamNonBlocking) == cudaSuccess);
    REQUIRE(cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking) == cudaSuccess);
  }
  ~Streams() {
    cudaStreamDestroy(work);
    cudaStreamDestroy(copies);
  }
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;
  cudaStream_t work = nullptr;
  cudaStream_t copies = nullptr;
};

class LateArray {
 public:
  explicit LateArray(std::span<const std::byte> bytes)
      : bytes_(bytes.begin(), bytes.end()),
        array_(std::vector<std::byte>(bytes.size(), static_cast<std::byte>(cuda::kAbsent & 0xFFU))) {}
  [[nodiscard]] std::byte* data() const { return array_.data(); }

  /// In three pieces, the last one first.
  void arrive(cudaStream_t stream) const {
    const std::size_t piece = bytes_.size() / 3 / 64 * 64;
    std::size_t end = bytes_.size();
    for (const std::size_t begin : {2 * piece, piece, std::size_t{0}}) {
      REQUIRE(cudaMemcpyAsync(data() + begin, bytes_.data() + begin, end - begin, cudaMemcpyHostToDevice, stream) ==
              cudaSuccess);
      REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
      end = begin;
    }
  }

 private:
  std::vector<std::byte> bytes_;
  DeviceArray<std::byte> array_;
};

}  // namespace inlay::test
