#include "cpu/kv_memory.hpp"

#include <sys/mman.h>

#include <cstring>
#include <string>
#include <utility>

#include "base/checked_math.hpp"
#include "base/system.hpp"
#include "base/try.hpp"
#include "cpu/attention_args.hpp"

namespace inlay::cpu {
namespace {

constexpr std::size_t kSystemPage = 4096;

Status out_of_memory(std::uint64_t bytes) {
  return {StatusCode::kOutOfMemory, "KV cache: " + std::to_string(bytes) + " bytes cannot be had"};
}

}  // namespace

std::size_t KvMemory::page_bytes(const ModelSpec& spec, KvFormat format) {
  const std::size_t planes = 2 * static_cast<std::size_t>(spec.n_layers) * static_cast<std::size_t>(spec.n_kv_heads);
  return ceil_div(planes * kv_plane_bytes(format, spec.head_size), kSystemPage) * kSystemPage;
}

KvMemory::KvMemory(const ModelSpec& spec, KvFormat format, const HostAllocator* allocator)
    : format_(format),
      n_kv_heads_(spec.n_kv_heads),
      plane_bytes_(kv_plane_bytes(format, spec.head_size)),
      page_bytes_(page_bytes(spec, format)),
      allocator_(allocator) {}

Result<void> KvMemory::reserve(int n_pages) {
  if (n_pages <= static_cast<int>(pages_.size())) return {};
  const auto n_new = static_cast<std::size_t>(n_pages) - pages_.size();
  const auto total = checked_multiply(static_cast<std::uint64_t>(n_pages), page_bytes_);
  const std::uint64_t memory = physical_memory_bytes();
  if (!total || (memory != 0 && *total > memory)) return out_of_memory(total.value_or(~0ULL));
  slabs_.reserve(slabs_.size() + 1);
  pages_.reserve(static_cast<std::size_t>(n_pages));
  INLAY_TRY_ASSIGN(PageMemory slab,
                   PageMemory::take(n_new * page_bytes_, "KV cache", PageMemory::PageSize::kSystem, allocator_));
  std::byte* data = slab.data();
  slabs_.push_back(std::move(slab));
  for (std::size_t i = 0; i < n_new; ++i) pages_.push_back(data + i * page_bytes_);
  return {};
}

void KvMemory::copy(PageId from, PageId to) { std::memcpy(page(to), page(from), page_bytes_); }

void KvMemory::discard(PageId id) {
  if (!slabs_.front().is_hosts()) ::madvise(page(id), page_bytes_, MADV_DONTNEED);
}

}  // namespace inlay::cpu
