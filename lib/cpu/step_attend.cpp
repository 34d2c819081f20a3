#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "cpu/attention_split.hpp"
#include "cpu/steps.hpp"

namespace inlay::cpu {
namespace {

/// Neighbouring rows of one sequence, and the heads that share a KV head.
struct Item {
  int row = 0;
  int n_rows = 0;
  int kv_head = 0;
  int n_positions = 0;      // that the last row sees
  std::int64_t begin = 0;   // where the item stands in all the work of the step, in units of cost
  std::int64_t weight = 0;  // cost of a page
};

/// Besides its queries, a page costs about as much as so many of them.
constexpr int kPageCost = 4;

/// A step with less work is done by the calling thread alone: waking the others takes about as long.
constexpr std::int64_t kLeastWork = 96;

std::int64_t pages_for(std::int64_t n_positions) { return (n_positions + kKvPagePositions - 1) / kKvPagePositions; }

/// One step's attention. All its items stand in one line; each thread computes the units that begin in its share of it.
/// An item whose units are shared out leaves states behind, which `join` puts together in the order of the units.
class AttendStep {
 public:
  AttendStep(const StepContext& context, int layer)
      : context_(context),
        spec_(context.plan.spec),
        layer_(layer),
        memory_(spec_.group(), spec_.head_size, context.buffers.batch_rows, spec_.context_length, context.pool.size()) {
    for_items([this](const Item& item) { total_ = item.begin + cost(item); });
  }

  void run() {
    if (total_ < kLeastWork || context_.pool.size() == 1) return run_part(0);
    n_parts_ = context_.pool.size();
    context_.pool.run([this](int part) { run_part(part); });
    for_items([this](const Item& item) { join(item); });
  }

 private:
  struct Units {
    int begin = 0;
    int end = 0;
  };

  template <class Body>
  void for_items(const Body& body) const {
    const std::span<const Row> rows = context_.batch.rows;
    const int n_rows = context_.n_rows();
    Item item;
    for (; item.row < n_rows; item.row += item.n_rows) {
      item.n_rows = rows_from(rows, item.row);
      item.n_positions = rows[static_cast<std::size_t>(item.row + item.n_rows - 1)].position + 1;
      item.weight = item.n_rows * spec_.group() + kPageCost;
      for (item.kv_head = 0; item.kv_head < spec_.n_kv_heads; ++item.kv_head) {
        body(item);
        item.begin += cost(item);
      }
    }
  }

  /// How many rows from `first` on are neighbours and fit into a tile.
  [[nodiscard]] int rows_from(std::span<const Row> rows, int first) const {
    const auto begin = static_cast<std::size_t>(first);
    const std::size_t most = std::min(rows.size(), begin + static_cast<std::size_t>(memory_.tile_rows));
    std::size_t end = begin + 1;
    while (end < most && rows[end].sequence == rows[begin].sequence &&
           rows[end].position == rows[end - 1].position + 1) {
      ++end;
    }
    return static_cast<int>(end - begin);
  }

  static std::int64_t cost(const Item& item) { return pages_for(item.n_positions) * item.weight; }
  [[nodiscard]] int n_units(int n_positions) const { return std::min(attention_units(n_positions), memory_.n_units); }

  /// Units of the item that begin before `limit` in the line.
  [[nodiscard]] int units_before(const Item& item, std::int64_t limit) const {
    if (limit <= item.begin) return 0;
    const std::int64_t pages = (limit - item.begin + item.weight - 1) / item.weight;
    return n_units(static_cast<int>(std::min<std::int64_t>(item.n_positions, pages * kKvPagePositions)));
  }
  [[nodiscard]] Units units_of(const Item& item, int part) const {
    return {units_before(item, total_ * part / n_parts_), units_before(item, total_ * (part + 1) / n_parts_)};
  }

  [[nodiscard]] float* memory_of(int part) const {
    return context_.buffers.attention.data() + static_cast<std::size_t>(part) * memory_.part_floats;
  }
  enum Place { kChunkState, kUnitState, kItemState, kFirstState, kUnitStates };
  /// kFirstState: of the first units of an item that other threads go on with. kUnitStates + i: of the i-th unit that
  /// the thread computes of an item that another thread began.
  [[nodiscard]] AttentionState state_of(int part, int place, const Item& item) const {
    float* memory = memory_of(part) + memory_.scratch_floats + static_cast<std::size_t>(place) * memory_.state_floats;
    return attention_state(memory, item.n_rows * spec_.group(), spec_.head_size);
  }

  void run_part(int part) const {
    for_items([this, part](const Item& item) { run_item(item, part); });
  }

  void run_item(const Item& item, int part) const {
    const Units units = units_of(item, part);
    if (units.begin == units.end) return;
    if (units.begin > 0) {
      for (int unit = units.begin; unit < units.end; ++unit) {
        compute_unit(item, unit, part, state_of(part, kUnitStates + unit - units.begin, item));
      }
      return;
    }
    const bool whole = units.end == n_units(item.n_positions);
    const AttentionState state = state_of(part, whole ? kItemState : kFirstState, item);
    compute_unit(item, 0, part, state);
    for (int unit = 1; unit < units.end; ++unit) {
      const AttentionState next = state_of(part, kUnitState, item);
      compute_unit(item, unit, part, next);
      merge(item, next, state);
    }
    if (whole) finish(item, state);
  }

  void merge(const Item& item, const AttentionState& part, const AttentionState& into) const {
    context_.kernels.merge_attention(part, into, item.n_rows * spec_.group(), spec_.head_size);
  }

  void compute_unit(const Item& item, int unit, int part, const AttentionState& state) const {
    const int begin = attention_unit_begin(unit);
    const int next = unit + 1 < memory_.n_units ? attention_unit_begin(unit + 1) : item.n_positions;
    const int end = std::min(next, item.n_positions);
    compute_chunk(item, begin, part, state);
    for (int first = begin + kAttentionChunk; first < end; first += kAttentionChunk) {
      const AttentionState chunk = state_of(part, kChunkState, item);
      compute_chunk(item, first, part, chunk);
      merge(item, chunk, state);
    }
  }

  void compute_chunk(const Item& item, int first, int part, const AttentionState& state) const {
    const auto page = static_cast<std::size_t>(first / kKvPagePositions);
    const std::size_t behind = page + kAttentionChunk / kKvPagePositions;
    const auto row = static_cast<std::size_t>(item.row);
    const std::byte* const* pages = context_.pages[static_cast<std::size_t>(context_.batch.rows[row].sequence)];
    AttentionArgs args;
    args.query_stride = static_cast<std::size_t>(spec_.query_length());
    args.query = context_.buffers.query.data() + offset_of_row(item, item.row);
    args.n_rows = item.n_rows;
    args.group = spec_.group();
    args.head_size = spec_.head_size;
    args.scale = spec_.attention_scale;
    args.format = context_.kv.format();
    args.pages = pages + page;
    args.next_page = static_cast<std::int64_t>(behind) < pages_for(item.n_positions) ? pages[behind] : nullptr;
    args.key_offset = context_.kv.key_offset(layer_, item.kv_head);
    args.value_offset = context_.kv.value_offset(layer_, item.kv_head);
    args.n_positions = context_.batch.rows[row].position + 1 - first;
    args.state = state;
    args.scratch = memory_of(part);
    context_.kernels.attend(args);
  }

  [[nodiscard]] std::size_t offset_of_row(const Item& item, int row) const {
    return static_cast<std::size_t>(row) * static_cast<std::size_t>(spec_.query_length()) +
           static_cast<std::size_t>(item.kv_head * spec_.group() * spec_.head_size);
  }

  void finish(const Item& item, const AttentionState& state) const {
    const auto group = static_cast<std::size_t>(spec_.group());
    for (int i = 0; i < item.n_rows; ++i) {
      const std::size_t query = static_cast<std::size_t>(i) * group;
      const AttentionState row = {state.sums + query * state.stride, state.largest + query, state.totals + query,
                                  state.stride};
      context_.kernels.finish_attention(row, spec_.group(), spec_.head_size,
                                        context_.buffers.attended.data() + offset_of_row(item, item.row + i));
    }
  }

  /// Puts together what several threads have left of an item.
  void join(const Item& item) const {
    AttentionState state;
    const int n = n_units(item.n_positions);
    for (int part = 0; part < n_parts_; ++part) {
      const Units units = units_of(item, part);
      if (units.begin == units.end || units.end - units.begin == n) continue;
      if (units.begin == 0) {
        state = state_of(part, kFirstState, item);
        continue;
      }
      for (int i = 0; i < units.end - units.begin; ++i) merge(item, state_of(part, kUnitStates + i, item), state);
    }
    if (state.sums != nullptr) finish(item, state);
  }

  const StepContext& context_;
  const ModelSpec& spec_;
  int layer_;
  AttentionMemory memory_;
  std::int64_t total_ = 0;
  int n_parts_ = 1;
};

}  // namespace

void run_attend(const Step& step, const StepContext& context) { AttendStep(context, step.layer).run(); }

}  // namespace inlay::cpu
