// Units of work for the threads of a pool: each has its share, and who is done helps the others.
#pragma once

#include <atomic>
#include <span>

#include "cpu/thread_pool.hpp"

namespace inlay::cpu {

/// How far a part's share is done, in a cache line of its own.
struct alignas(64) ShareCursor {
  std::atomic<int> next = 0;
  int end = 0;
};

/// The units [0, n_units) of one run. Shares are split evenly, so that in every run the same thread has the same
/// memory; but a core that other programs slow down does not make the others wait for more than a unit.
class SharedUnits {
 public:
  /// `cursors`: one for each part, not in use by another run.
  SharedUnits(std::span<ShareCursor> cursors, int n_units) : cursors_(cursors) {
    const auto n_parts = static_cast<int>(cursors.size());
    for (int part = 0; part < n_parts; ++part) {
      const Range share = split(n_units, 1, part, n_parts);
      cursors[static_cast<std::size_t>(part)].next.store(share.begin, std::memory_order_relaxed);
      cursors[static_cast<std::size_t>(part)].end = share.end;
    }
  }

  /// A unit that nobody has taken yet, of the part's own share as long as there is one; -1 when all are taken.
  [[nodiscard]] int take(int part) const {
    const std::size_t n_parts = cursors_.size();
    for (std::size_t i = 0; i < n_parts; ++i) {
      ShareCursor& cursor = cursors_[(static_cast<std::size_t>(part) + i) % n_parts];
      if (cursor.next.load(std::memory_order_relaxed) >= cursor.end) continue;
      const int unit = cursor.next.fetch_add(1, std::memory_order_relaxed);
      if (unit < cursor.end) return unit;
    }
    return -1;
  }

 private:
  std::span<ShareCursor> cursors_;
};

}  // namespace inlay::cpu
