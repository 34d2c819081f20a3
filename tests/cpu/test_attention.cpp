#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/half.hpp"
#include "cpu/kernel_cases.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

/// Pages of random keys and values of one head, at odd offsets of even alignment.
class Pages {
 public:
  Pages(Random& random, int head_size, int n_positions, float key_size)
      : head_size_(head_size), floats_(static_cast<std::size_t>(head_size) * kKvPagePositions) {
    for (int first = 0; first < n_positions; first += kKvPagePositions) {
      std::vector<std::uint16_t>& page = pages_.emplace_back(2 * floats_ + 3, std::uint16_t{0x7E00});  // NaN
      const int n = std::min(n_positions - first, kKvPagePositions);
      const std::size_t used = static_cast<std::size_t>(n) * static_cast<std::size_t>(head_size);
      fill(random, page.data() + 1, used, key_size);
      fill(random, page.data() + floats_ + 2, used, 1.0F);
    }
    for (const auto& page : pages_) pointers_.push_back(reinterpret_cast<const std::byte*>(page.data()));
  }

  [[nodiscard]] const std::byte* const* pointers() const { return pointers_.data(); }
  [[nodiscard]] std::size_t key_offset() const { return 2; }
  [[nodiscard]] std::size_t value_offset() const { return 2 * (floats_ + 2); }
  [[nodiscard]] double key(int position, int i) const { return at(position, i, 1); }
  [[nodiscard]] double value(int position, int i) const { return at(position, i, floats_ + 2); }

 private:
  static void fill(Random& random, std::uint16_t* out, std::size_t n, float size) {
    const std::vector<float> values = random_floats(random, n, size);
    std::transform(values.begin(), values.end(), out, float_to_half);
  }
  [[nodiscard]] double at(int position, int i, std::size_t start) const {
    const std::size_t in_page = static_cast<std::size_t>(position % kKvPagePositions * head_size_ + i);
    return half_to_float(pages_[static_cast<std::size_t>(position / kKvPagePositions)][start + in_page]);
  }

  int head_size_;
  std::size_t floats_;
  std::vector<std::vector<std::uint16_t>> pages_;
  std::vector<const std::byte*> pointers_;
};

/// Softmax attention of one query head in double precision, and the rounding that its scores may have.
struct Exact {
  std::vector<double> out;
  double bound = 0.0;
};

Exact exact_attention(const float* query, int head_size, float scale, const Pages& pages, int n_positions) {
  std::vector<double> scores;
  double largest_product = 0.0;
  for (int p = 0; p < n_positions; ++p) {
    double dot = 0.0;
    double products = 0.0;
    for (int i = 0; i < head_size; ++i) {
      dot += static_cast<double>(query[i]) * pages.key(p, i);
      products += std::abs(static_cast<double>(query[i]) * pages.key(p, i));
    }
    scores.push_back(dot * static_cast<double>(scale));
    largest_product = std::max(largest_product, products * static_cast<double>(scale));
  }
  const double largest = *std::max_element(scores.begin(), scores.end());
  double total = 0.0;
  for (double& score : scores) total += score = std::exp(score - largest);
  Exact exact;
  double largest_value = 0.0;
  for (int i = 0; i < head_size; ++i) {
    double sum = 0.0;
    for (int p = 0; p < n_positions; ++p) {
      sum += scores[static_cast<std::size_t>(p)] / total * pages.value(p, i);
      largest_value = std::max(largest_value, std::abs(pages.value(p, i)));
    }
    exact.out.push_back(sum);
  }
  // A score is off by at most (head_size + 2) roundings of its products, and twice that moves the weights by as much
  // relatively; the weighted sum adds a rounding per position.
  exact.bound = 0x1.0p-24 * (2.0 * (head_size + 2) * largest_product + n_positions + 16) * largest_value;
  return exact;
}

struct Run {
  std::vector<float> out;
  bool clean = false;  // nothing outside the output and the scratch memory was written
};

Run run_attention(const cpu::KernelTable& table, const std::vector<float>& query, int group, int head_size, float scale,
                  const Pages& pages, int n_positions) {
  const auto n = static_cast<std::size_t>(group) * static_cast<std::size_t>(head_size);
  const std::size_t scratch_size = cpu::attention_scratch_floats(group, head_size);
  std::vector<float> scratch = poisoned(scratch_size + 1);
  std::vector<float> out = poisoned(n + 1);
  cpu::AttentionArgs args;
  args.query = query.data();
  args.group = group;
  args.head_size = head_size;
  args.scale = scale;
  args.pages = pages.pointers();
  args.key_offset = pages.key_offset();
  args.value_offset = pages.value_offset();
  args.n_positions = n_positions;
  args.out = out.data();
  args.scratch = scratch.data();
  table.attend(args);
  const bool clean = is_poison(out[n]) && is_poison(scratch[scratch_size]);
  out.pop_back();
  return {out, clean};
}

/// Compares all heads of a group with double precision; returns how many outputs were wrong.
std::size_t count_wrong(const cpu::KernelTable& table, Random& random, int group, int head_size, int n_positions,
                        float key_size) {
  const Pages pages(random, head_size, n_positions, key_size);
  const auto size = static_cast<std::size_t>(head_size);
  const std::vector<float> query = random_floats(random, static_cast<std::size_t>(group) * size, key_size);
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_size));
  const Run run = run_attention(table, query, group, head_size, scale, pages, n_positions);
  std::size_t wrong = run.clean ? 0 : 1;
  for (std::size_t head = 0; head < static_cast<std::size_t>(group); ++head) {
    const Exact exact = exact_attention(&query[head * size], head_size, scale, pages, n_positions);
    for (std::size_t i = 0; i < size; ++i) {
      const auto found = static_cast<double>(run.out[head * size + i]);
      wrong += std::abs(found - exact.out[i]) <= exact.bound ? 0 : 1;
    }
  }
  return wrong;
}

TEST_CASE("attention is within rounding of softmax in double precision") {
  std::size_t runs = 0;
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    CAPTURE(std::string(table->name));
    Random random(1);
    for (const int group : {1, 3, 4, 8}) {
      for (const int head_size : {1, 5, 20, 32, 40, 64, 80, 96, 128, 256}) {
        CAPTURE(group);
        CAPTURE(head_size);
        for (const int n_positions : {1, 2, 3, 4, 5, 63, 64, 65, 127, 129, 200}) {
          CAPTURE(n_positions);
          CHECK(count_wrong(*table, random, group, head_size, n_positions, 1.0F) == 0);
          ++runs;
        }
      }
    }
    for (int n_positions = 1; n_positions <= 200; ++n_positions) {
      CHECK(count_wrong(*table, random, 3, 16, n_positions, 1.0F) == 0);
      ++runs;
    }
  }
  MESSAGE("compared ", runs, " runs");
}

TEST_CASE("attention with scores in the thousands does not overflow") {
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    CAPTURE(std::string(table->name));
    Random random(2);
    for (const int n_positions : {1, 64, 200}) {
      CHECK(count_wrong(*table, random, 4, 64, n_positions, 30.0F) == 0);
      CHECK(count_wrong(*table, random, 2, 64, n_positions, 500.0F) == 0);
    }
  }
}

TEST_CASE("attention depends on its arguments alone") {
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    CAPTURE(std::string(table->name));
    Random random(3);
    const Pages pages(random, 64, 150, 1.0F);
    const std::vector<float> query = random_floats(random, std::size_t{4} * 64);
    const Run first = run_attention(*table, query, 4, 64, 0.125F, pages, 150);
    const Run second = run_attention(*table, query, 4, 64, 0.125F, pages, 150);
    CHECK(same_bits(first.out.data(), second.out.data(), first.out.size()));
    const Run none = run_attention(*table, query, 4, 64, 0.125F, pages, 0);
    CHECK(std::all_of(none.out.begin(), none.out.end(), [](float x) { return x == 0.0F; }));
  }
}

}  // namespace
