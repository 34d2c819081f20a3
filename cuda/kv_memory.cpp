#include "cuda/kv_memory.hpp"

#include <utility>

#include "base/try.hpp"
#include "cuda/cuda_status.hpp"
#include "model/kv_page.hpp"

namespace inlay::cuda {

KvLayout KvMemory::layout_of(const ModelSpec& spec, KvFormat format) {
  KvLayout layout;
  layout.n_kv_heads = spec.n_kv_heads;
  layout.head_size = spec.head_size;
  layout.quantised = format == KvFormat::kQ8_0;
  // Rows are read 8 or 16 bytes at a time.
  const int bytes = layout.quantised ? spec.head_size + spec.head_size / kKvBlock * 2 : 2 * spec.head_size;
  layout.row_bytes = (bytes + 15) / 16 * 16;
  return layout;
}

std::size_t KvMemory::page_bytes(const ModelSpec& spec, KvFormat format) {
  return layout_of(spec, format).offset(spec.n_layers, 0, 0, 0);
}

KvMemory::KvMemory(const ModelSpec& spec, KvFormat format)
    : layout_(layout_of(spec, format)), page_bytes_(page_bytes(spec, format)) {}

Result<void> KvMemory::reserve(int n_pages, cudaStream_t stream) {
  const auto wanted = static_cast<std::size_t>(n_pages);
  if (wanted <= pages_.size()) return {};
  const std::size_t n = wanted - pages_.size();
  slabs_.reserve(slabs_.size() + 1);
  pages_.reserve(wanted);
  INLAY_TRY_ASSIGN(Memory slab, DevicePool::take(n * page_bytes_, MemoryKind::kDevice, "KV cache"));
  INLAY_TRY(check(cudaMemsetAsync(slab.as(), 0, n * page_bytes_, stream), "KV cache"));
  for (std::size_t i = 0; i < n; ++i) pages_.push_back(slab.as() + i * page_bytes_);
  slabs_.push_back(std::move(slab));
  return {};
}

cudaError_t KvMemory::copy(PageId from, PageId to, cudaStream_t stream) {
  return cudaMemcpyAsync(page(to), page(from), page_bytes_, cudaMemcpyDeviceToDevice, stream);
}

}  // namespace inlay::cuda
