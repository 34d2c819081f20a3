// Pages of random keys and values for the tests of attention, and what attention over them is in double precision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/kernel_cases.hpp"

namespace inlay::test {

/// Keys and values of one head. What is not stored is a NaN in either format.
class KvPages {
 public:
  KvPages(KvFormat format, int head_size, int n_positions);

  /// Stores position i = key and value [i, head_size] for first <= i < last.
  void store(const cpu::KernelTable& table, const std::vector<float>& keys, const std::vector<float>& values, int first,
             int last);
  /// The same with random ones.
  void store_random(Random& random, int n_positions, float key_size);

  [[nodiscard]] double key(int position, int i) const;
  [[nodiscard]] double value(int position, int i) const;
  [[nodiscard]] const std::byte* const* pointers() const { return pointers_.data(); }
  [[nodiscard]] std::size_t key_offset() const { return kStart; }
  [[nodiscard]] std::size_t value_offset() const { return kStart + plane_bytes_ + kStart; }
  [[nodiscard]] KvFormat format() const { return format_; }
  [[nodiscard]] int head_size() const { return head_size_; }
  [[nodiscard]] int n_pages() const { return static_cast<int>(pages_.size()); }
  [[nodiscard]] const std::vector<std::vector<std::byte>>& bytes() const { return pages_; }

 private:
  static constexpr std::size_t kStart = 2;  // planes need no more alignment than a half

  [[nodiscard]] double decoded(const std::byte* plane, std::size_t index, std::size_t scale) const;

  KvFormat format_;
  int head_size_;
  std::size_t plane_bytes_;
  std::vector<std::vector<std::byte>> pages_;
  std::vector<const std::byte*> pointers_;
};

/// Rows of queries against one KV head.
struct AttentionCase {
  const KvPages& pages;
  const std::vector<float>& query;  // [n_rows, group, head_size]
  int n_rows = 1;
  int group = 1;
  float scale = 1.0F;
  int n_positions = 0;  // that row 0 sees; every row sees one more than the one before
};

struct AttentionRun {
  std::vector<float> out;  // [n_rows, group, head_size]
  bool clean = false;      // nothing outside the output, the states and the scratch memory was written
};

/// Chunk after chunk.
AttentionRun run_attention(const cpu::KernelTable& table, const AttentionCase& attention);

/// How many outputs differ from double precision by more than rounding explains.
std::size_t count_wrong(const cpu::KernelTable& table, const AttentionCase& attention);

}  // namespace inlay::test
