#include "runtime/kv_pages.hpp"

namespace inlay {

void KvPages::commit(int n) {
  const int needed = promised_ + n;
  const int old_capacity = capacity();
  if (needed > old_capacity) {
    std::vector<PageId> free_pages;
    free_pages.reserve(static_cast<std::size_t>(needed));
    for (PageId page = needed - 1; page >= old_capacity; --page) free_pages.push_back(page);
    free_pages.insert(free_pages.end(), free_.begin(), free_.end());
    users_.resize(static_cast<std::size_t>(needed), 0);
    free_ = std::move(free_pages);
  }
  promised_ = needed;
}

PageId KvPages::take() noexcept {
  const PageId page = free_.back();
  free_.pop_back();
  users_[static_cast<std::size_t>(page)] = 1;
  return page;
}

bool KvPages::release(PageId page) noexcept {
  if (--users_[static_cast<std::size_t>(page)] > 0) return false;
  free_.push_back(page);  // never allocates: `free_` has room for every page
  return true;
}

}  // namespace inlay
