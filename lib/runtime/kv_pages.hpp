// Which KV pages are free, and how many sequences share each: bookkeeping only, the bytes belong to the executor.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/backend.hpp"

namespace inlay {

/// The longest context that a session may ask for, in positions: far above any model's, and safe from overflow.
inline constexpr std::int32_t kMaxContextLength = 1 << 26;

/// The most pages of all sessions of a model together: page ids fit an int32 with room to spare.
inline constexpr std::int64_t kMaxPages = 1 << 28;

/// Pages for `positions` positions.
[[nodiscard]] constexpr int pages_for(int positions) { return (positions + kKvPagePositions - 1) / kKvPagePositions; }

/// A session first promises how many pages it will hold at most (`reserve`); `take` within the promises never fails and
/// never allocates. Not thread-safe.
class KvPages {
 public:
  /// Promises n more pages. Returns how many pages the executor must have for all promises together. Only after the
  /// executor has them, `commit` counts the promise.
  [[nodiscard]] std::int64_t needed_for(int n) const noexcept { return std::int64_t{promised_} + n; }
  void commit(int n);
  /// Takes a promise back. The pages must have been released.
  void withdraw(int n) noexcept { promised_ -= n; }

  /// A page of its own for one sequence.
  [[nodiscard]] PageId take() noexcept;
  /// One more sequence uses the page.
  void share(PageId page) noexcept { ++users_[static_cast<std::size_t>(page)]; }
  /// One sequence less uses the page. True when it was the last one, and the page is free now.
  bool release(PageId page) noexcept;
  [[nodiscard]] bool is_shared(PageId page) const noexcept { return users_[static_cast<std::size_t>(page)] > 1; }

  [[nodiscard]] int capacity() const noexcept { return static_cast<int>(users_.size()); }
  [[nodiscard]] int in_use() const noexcept { return capacity() - static_cast<int>(free_.size()); }

 private:
  std::vector<std::int32_t> users_;  // [capacity]
  std::vector<PageId> free_;         // used as a stack: the lowest ids come first, so that memory stays dense
  int promised_ = 0;
};

}  // namespace inlay
