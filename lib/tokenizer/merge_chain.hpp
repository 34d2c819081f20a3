// The merging that both kinds of vocabulary share: of all neighbours that may merge, the best pair does, until none is
// left.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace inlay {

/// A run of bytes of the text, and what the vocabulary calls it.
struct MergeSymbol {
  std::size_t begin = 0;
  std::uint32_t size = 0;
  std::int32_t id = -1;

  [[nodiscard]] std::string_view in(std::string_view text) const noexcept { return text.substr(begin, size); }
};

/// What two neighbours become.
struct MergePair {
  std::uint32_t priority = 0;  // the least merges first; of equals the leftmost
  std::int32_t id = -1;        // negative: they do not merge
};

/// Keeps its memory from text to text. O(n log n) in the symbols of a text.
class MergeChain {
 public:
  void clear() noexcept { links_.clear(); }
  /// At most 2^31 - 1 symbols, in the order of the text.
  void add(const MergeSymbol& symbol) {
    const auto index = static_cast<std::int32_t>(links_.size());
    links_.push_back({symbol, {}, index - 1, kEnd});
    if (index > 0) links_[links_.size() - 2].next = index;
  }

  /// `pair_of(left, right)` gives the MergePair of two symbols.
  template <class PairOf>
  void merge(const PairOf& pair_of) {
    queue_.clear();
    for (std::size_t i = 0; i + 1 < links_.size(); ++i) {
      if (find_pair(static_cast<std::int32_t>(i), pair_of)) queue_.push_back(key(static_cast<std::int32_t>(i)));
    }
    std::make_heap(queue_.begin(), queue_.end(), std::greater<>());
    while (!queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end(), std::greater<>());
      const std::uint64_t best = queue_.back();
      queue_.pop_back();
      const auto index = static_cast<std::int32_t>(best & UINT32_MAX);
      // A pair that has changed since it was queued is there a second time, under its new key.
      if (at(index).pair.id >= 0 && key(index) == best) merge_at(index, pair_of);
    }
  }

  /// Calls `use(symbol)` for what is left, in the order of the text.
  template <class Use>
  void for_each(const Use& use) const {
    for (std::int32_t i = links_.empty() ? kEnd : 0; i != kEnd; i = links_[static_cast<std::size_t>(i)].next) {
      use(links_[static_cast<std::size_t>(i)].symbol);
    }
  }

 private:
  static constexpr std::int32_t kEnd = -1;

  struct Link {
    MergeSymbol symbol;
    MergePair pair;  // with the next link
    std::int32_t previous = kEnd;
    std::int32_t next = kEnd;
  };

  Link& at(std::int32_t i) noexcept { return links_[static_cast<std::size_t>(i)]; }

  [[nodiscard]] std::uint64_t key(std::int32_t i) noexcept {
    return std::uint64_t{at(i).pair.priority} << 32U | static_cast<std::uint32_t>(i);
  }

  template <class PairOf>
  bool find_pair(std::int32_t i, const PairOf& pair_of) {
    Link& link = at(i);
    link.pair = link.next == kEnd ? MergePair() : pair_of(link.symbol, at(link.next).symbol);
    return link.pair.id >= 0;
  }

  template <class PairOf>
  void queue_pair(std::int32_t i, const PairOf& pair_of) {
    if (i == kEnd || !find_pair(i, pair_of)) return;
    queue_.push_back(key(i));
    std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
  }

  template <class PairOf>
  void merge_at(std::int32_t i, const PairOf& pair_of) {
    Link& left = at(i);
    Link& right = at(left.next);
    left.symbol.id = left.pair.id;
    left.symbol.size += right.symbol.size;
    left.next = right.next;
    right.pair = MergePair();
    if (left.next != kEnd) at(left.next).previous = i;
    queue_pair(left.previous, pair_of);
    queue_pair(i, pair_of);
  }

  std::vector<Link> links_;
  std::vector<std::uint64_t> queue_;  // a heap of keys: priority << 32 | index
};

}  // namespace inlay
