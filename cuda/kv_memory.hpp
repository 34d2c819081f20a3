// KV pages in device memory. A page never moves.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

#include <inlay/result.hpp>

#include "cuda/device_pool.hpp"
#include "cuda/pass_state.hpp"
#include "model/model_spec.hpp"
#include "runtime/backend.hpp"

namespace inlay::cuda {

class KvMemory {
 public:
  KvMemory(const ModelSpec& spec, KvFormat format);

  /// Makes the pages [0, n_pages) usable, of the current device; what fails leaves everything as it was.
  Result<void> reserve(int n_pages, cudaStream_t stream);
  cudaError_t copy(PageId from, PageId to, cudaStream_t stream);

  [[nodiscard]] std::size_t page_bytes() const { return page_bytes_; }
  [[nodiscard]] std::byte* page(PageId id) const { return pages_[static_cast<std::size_t>(id)]; }
  [[nodiscard]] int n_pages() const { return static_cast<int>(pages_.size()); }
  [[nodiscard]] const KvLayout& layout() const { return layout_; }

  static KvLayout layout_of(const ModelSpec& spec, KvFormat format);
  static std::size_t page_bytes(const ModelSpec& spec, KvFormat format);

 private:
  KvLayout layout_;
  std::size_t page_bytes_;
  std::vector<Memory> slabs_;
  std::vector<std::byte*> pages_;
};

}  // namespace inlay::cuda
