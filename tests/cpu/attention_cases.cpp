#include "cpu/attention_cases.hpp"

#include <algorithm>
#include <cmath>

#include "base/half.hpp"

namespace inlay::test {
namespace {

constexpr std::byte kUnset{0x7E};  // as halves NaN, so that quants with such a scale are NaN too

std::size_t size(int n) { return static_cast<std::size_t>(n); }

/// Softmax attention of one query in double precision, and the rounding that it may have.
struct Exact {
  std::vector<double> out;
  double bound = 0.0;
};

Exact exact_attention(const AttentionCase& attention, const float* query, int n_positions) {
  const KvPages& pages = attention.pages;
  const auto scale = static_cast<double>(attention.scale);
  std::vector<double> scores;
  double largest_product = 0.0;
  for (int p = 0; p < n_positions; ++p) {
    double dot = 0.0;
    double products = 0.0;
    for (int i = 0; i < pages.head_size(); ++i) {
      const double product = static_cast<double>(query[i]) * pages.key(p, i);
      dot += product;
      products += std::abs(product);
    }
    scores.push_back(dot * scale);
    largest_product = std::max(largest_product, products * scale);
  }
  const double largest = *std::max_element(scores.begin(), scores.end());
  double total = 0.0;
  for (double& score : scores) total += score = std::exp(score - largest);
  Exact exact;
  exact.out.resize(size(pages.head_size()));
  double largest_value = 0.0;
  for (int p = 0; p < n_positions; ++p) {
    for (int i = 0; i < pages.head_size(); ++i) {
      const double value = pages.value(p, i);
      exact.out[size(i)] += scores[size(p)] / total * value;
      largest_value = std::max(largest_value, std::abs(value));
    }
  }
  // A score is off by at most (head_size + 4) roundings of its products (of the scale, the scaled query, the sum, the
  // distance to the largest), and twice that moves the weights by as much relatively. The weighted sum adds a rounding
  // per position, each joined chunk a few.
  const double roundings = 2.0 * (pages.head_size() + 4) * largest_product + n_positions + 8.0 * pages.n_pages() + 16;
  exact.bound = 0x1.0p-24 * roundings * largest_value;
  return exact;
}

}  // namespace

KvPages::KvPages(KvFormat format, int head_size, int n_positions)
    : format_(format), head_size_(head_size), plane_bytes_(cpu::kv_plane_bytes(format, head_size)) {
  for (int first = 0; first < n_positions; first += kKvPagePositions) {
    pages_.emplace_back(2 * (kStart + plane_bytes_), kUnset);
  }
  for (const auto& page : pages_) pointers_.push_back(page.data());
}

void KvPages::store(const cpu::KernelTable& table, const std::vector<float>& keys, const std::vector<float>& values,
                    int first, int last) {
  for (int position = first; position < last; ++position) {
    std::byte* page = pages_[size(position / kKvPagePositions)].data();
    cpu::KvStoreArgs args;
    args.key = keys.data() + size(position) * size(head_size_);
    args.value = values.data() + size(position) * size(head_size_);
    args.head_size = head_size_;
    args.format = format_;
    args.keys = page + key_offset();
    args.values = page + value_offset();
    args.slot = position % kKvPagePositions;
    table.store_kv(args);
  }
}

void KvPages::store_random(Random& random, int n_positions, float key_size) {
  const std::size_t n = size(n_positions) * size(head_size_);
  const std::vector<float> keys = random_floats(random, n, key_size);
  store(cpu::generic_kernels(), keys, random_floats(random, n), 0, n_positions);
}

double KvPages::decoded(const std::byte* plane, std::size_t index, std::size_t scale) const {
  const auto half_at = [](const std::byte* halves, std::size_t i) {
    std::uint16_t half = 0;
    std::memcpy(&half, halves + 2 * i, sizeof half);
    return static_cast<double>(half_to_float(half));
  };
  if (format_ == KvFormat::kF16) return half_at(plane, index);
  return static_cast<std::int8_t>(plane[index]) * half_at(plane + kKvPagePositions * size(head_size_), scale);
}

double KvPages::key(int position, int i) const {
  const std::byte* plane = pointers_[size(position / kKvPagePositions)] + key_offset();
  const int slot = position % kKvPagePositions;
  return decoded(plane, size(i * kKvPagePositions + slot), size(i / kKvBlock * kKvPagePositions + slot));
}

double KvPages::value(int position, int i) const {
  const std::byte* plane = pointers_[size(position / kKvPagePositions)] + value_offset();
  const int slot = position % kKvPagePositions;
  return decoded(plane, size(slot * head_size_ + i), size(slot * (head_size_ / kKvBlock) + i / kKvBlock));
}

AttentionRun run_attention(const cpu::KernelTable& table, const AttentionCase& attention) {
  const KvPages& pages = attention.pages;
  const int n_queries = attention.n_rows * attention.group;
  const std::size_t n_out = size(n_queries) * size(pages.head_size());
  const std::size_t scratch_size = cpu::attention_scratch_floats(n_queries, pages.head_size());
  const std::size_t state_size = cpu::attention_state_floats(n_queries, pages.head_size());
  std::vector<float> scratch = poisoned(scratch_size + 1);
  std::vector<float> total_memory = poisoned(state_size + 1);
  std::vector<float> chunk_memory = poisoned(state_size + 1);
  std::vector<float> out = poisoned(n_out + 1);
  cpu::AttentionArgs args;
  args.query = attention.query.data();
  args.query_stride = size(attention.group) * size(pages.head_size());
  args.n_rows = attention.n_rows;
  args.group = attention.group;
  args.head_size = pages.head_size();
  args.scale = attention.scale;
  args.format = pages.format();
  args.key_offset = pages.key_offset();
  args.value_offset = pages.value_offset();
  args.scratch = scratch.data();
  const cpu::AttentionState total = cpu::attention_state(total_memory.data(), n_queries, pages.head_size());
  for (int first = 0; first == 0 || first < attention.n_positions + attention.n_rows - 1;
       first += cpu::kAttentionChunk) {
    const int page = first / kKvPagePositions;
    const int behind = page + cpu::kAttentionChunk / kKvPagePositions;
    args.pages = pages.pointers() + page;
    args.next_page = behind < pages.n_pages() ? pages.pointers()[behind] : nullptr;
    args.n_positions = attention.n_positions - first;
    args.state = first == 0 ? total : cpu::attention_state(chunk_memory.data(), n_queries, pages.head_size());
    table.attend(args);
    if (first != 0) table.merge_attention(args.state, total, n_queries, pages.head_size());
  }
  table.finish_attention(total, n_queries, pages.head_size(), out.data());
  const bool clean = is_poison(out[n_out]) && is_poison(scratch[scratch_size]) && is_poison(total_memory[state_size]) &&
                     is_poison(chunk_memory[state_size]);
  out.pop_back();
  return {out, clean};
}

std::size_t count_wrong(const cpu::KernelTable& table, const AttentionCase& attention) {
  const AttentionRun run = run_attention(table, attention);
  const std::size_t head_size = size(attention.pages.head_size());
  std::size_t wrong = run.clean ? 0 : 1;
  for (int query = 0; query < attention.n_rows * attention.group; ++query) {
    const std::size_t first = size(query) * head_size;
    const Exact exact =
        exact_attention(attention, &attention.query[first], attention.n_positions + query / attention.group);
    for (std::size_t i = 0; i < head_size; ++i) {
      const auto found = static_cast<double>(run.out[first + i]);
      wrong += std::abs(found - exact.out[i]) <= exact.bound ? 0 : 1;
    }
  }
  return wrong;
}

}  // namespace inlay::test
