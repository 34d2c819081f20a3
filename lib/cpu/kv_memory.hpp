// The bytes of the KV pages: [layer][keys, values][kv_head] planes in each page (attention_args.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <inlay/result.hpp>
#include <inlay/types.hpp>

#include "base/page_memory.hpp"
#include "model/model_spec.hpp"
#include "runtime/backend.hpp"

namespace inlay::cpu {

/// Address space is reserved up front, so pages never move; the system's memory is committed when a page is first
/// written.
class KvMemory {
 public:
  /// `allocator` may be null; else it must outlive the memory.
  KvMemory(const ModelSpec& spec, KvFormat format, const HostAllocator* allocator);

  /// kOutOfMemory when the pages together are larger than the machine's memory, or memory is refused.
  Result<void> reserve(int n_pages);
  void copy(PageId from, PageId to);
  void discard(PageId page);

  [[nodiscard]] std::size_t page_bytes() const { return page_bytes_; }
  [[nodiscard]] std::byte* page(PageId id) const { return pages_[static_cast<std::size_t>(id)]; }
  [[nodiscard]] KvFormat format() const { return format_; }
  /// Bytes from a page's start to the plane of keys, and of values, of a head.
  [[nodiscard]] std::size_t key_offset(int layer, int kv_head) const { return head_offset(2 * layer, kv_head); }
  [[nodiscard]] std::size_t value_offset(int layer, int kv_head) const { return head_offset(2 * layer + 1, kv_head); }

  /// Of one page, a multiple of the system's page size.
  static std::size_t page_bytes(const ModelSpec& spec, KvFormat format);

 private:
  [[nodiscard]] std::size_t head_offset(int plane, int kv_head) const {
    return (static_cast<std::size_t>(plane) * static_cast<std::size_t>(n_kv_heads_) +
            static_cast<std::size_t>(kv_head)) *
           plane_bytes_;
  }

  KvFormat format_;
  int n_kv_heads_;
  std::size_t plane_bytes_;
  std::size_t page_bytes_;
  const HostAllocator* allocator_;
  std::vector<PageMemory> slabs_;
  std::vector<std::byte*> pages_;
};

}  // namespace inlay::cpu
