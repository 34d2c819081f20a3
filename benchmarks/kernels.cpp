// Speed of the CPU kernels, one thread: matvec in bytes of weights a second, beside a plain read of the same memory;
// matmul and attention in operations a second.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "cpu/attention_split.hpp"
#include "cpu/cpu_isa.hpp"
#include "cpu/kernel_table.hpp"
#include "quant/encode.hpp"
#include "quant/formats.hpp"

namespace {

using namespace inlay;

constexpr int kColumns = 4096;
constexpr int kRowsARun = 256;
constexpr std::size_t kStreamBytes = std::size_t{256} << 20U;  // beyond the caches

/// Panels of `rows` rows (a multiple of kPanelRows) of one encoded random row.
AlignedBuffer<std::byte> make_weights(Format format, int rows) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(kColumns);
  for (float& value : values) value = normal(random);
  std::vector<std::byte> row(row_bytes(format, kColumns));
  encode_row(format, values.data(), values.size(), row.data());
  const std::size_t bytes = cpu::panel_bytes(format, kColumns);
  AlignedBuffer<std::byte> panels(cpu::panels_bytes(format, rows, kColumns));
  cpu::pack_panel(format, row.data(), 0, cpu::kPanelRows, kColumns, panels.data());
  for (std::size_t at = bytes; at < panels.size(); at += bytes) std::memcpy(panels.data() + at, panels.data(), bytes);
  return panels;
}

struct ActivationRows {
  std::vector<float> values;
  AlignedBuffer<cpu::ActivationBlock> blocks;
  int n_rows;

  explicit ActivationRows(int rows)
      : values(static_cast<std::size_t>(rows) * kColumns), blocks(values.size() / cpu::kActivationBlock), n_rows(rows) {
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    for (float& value : values) value = normal(random);
    for (int row = 0; row < rows; ++row) {
      const cpu::BlockRow at = cpu::block_row(row, rows, kColumns);
      cpu::generic_kernels().quantize(&values[static_cast<std::size_t>(row) * kColumns], kColumns,
                                      blocks.data() + at.first, at.stride);
    }
  }
  [[nodiscard]] cpu::Activations view() const { return {values.data(), blocks.data(), nullptr, n_rows, kColumns}; }
};

void run_matvec(benchmark::State& state, const cpu::KernelTable& table, Format format) {
  const std::size_t bytes = row_bytes(format, kColumns);
  const auto rows = static_cast<int>(kStreamBytes / bytes / kRowsARun) * kRowsARun;
  const AlignedBuffer<std::byte> weights = make_weights(format, rows);
  const ActivationRows x(1);
  std::vector<float> out(static_cast<std::size_t>(rows));
  cpu::MatmulArgs args;
  args.panels = weights.data();
  args.panel_bytes = cpu::panel_bytes(format, kColumns);
  args.n_matrix_rows = rows;
  args.x = x.view();
  args.out = out.data();
  args.out_stride = out.size();
  const auto matmul = table.matmul[static_cast<std::size_t>(format_index(format))];
  for ([[maybe_unused]] auto _ : state) {
    args.row_end = args.row_begin + kRowsARun;
    matmul(args);
    benchmark::ClobberMemory();
    args.row_begin = args.row_end == rows ? 0 : args.row_end;
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kRowsARun * bytes));
}

/// Activations as bulk rows of zeros: the time of the matrix unit does not depend on what it multiplies.
AlignedBuffer<cpu::BulkBlock> bulk_rows(int n_tokens) {
  return AlignedBuffer<cpu::BulkBlock>(cpu::bulk_blocks(n_tokens, kColumns));
}

using Matmul = void (*)(const cpu::MatmulArgs&);

void run_matmul(benchmark::State& state, Matmul matmul, Format format) {
  const auto n_tokens = static_cast<int>(state.range(0));
  const AlignedBuffer<std::byte> weights = make_weights(format, kRowsARun);
  const ActivationRows x(n_tokens);
  const AlignedBuffer<cpu::BulkBlock> bulk = bulk_rows(n_tokens);
  std::vector<float> out(static_cast<std::size_t>(n_tokens) * kRowsARun);
  cpu::MatmulArgs args;
  args.panels = weights.data();
  args.panel_bytes = cpu::panel_bytes(format, kColumns);
  args.n_matrix_rows = kRowsARun;
  args.row_end = kRowsARun;
  args.x = x.view();
  args.x.bulk = bulk.data();
  AlignedBuffer<float> totals(cpu::matmul_totals(n_tokens));
  args.totals_scratch = totals.data();
  args.out = out.data();
  args.out_stride = kRowsARun;
  for ([[maybe_unused]] auto _ : state) {
    matmul(args);
    benchmark::ClobberMemory();
  }
  const double operations = 2.0 * kRowsARun * kColumns * n_tokens * static_cast<double>(state.iterations());
  state.counters["GOP/s"] = benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsRate);
}

/// The limit of matvec: the sum of the words of the same amount of memory.
void run_read(benchmark::State& state) {
  const AlignedBuffer<std::uint64_t> words(kStreamBytes / sizeof(std::uint64_t));
  constexpr std::size_t kWordsARun = std::size_t{1} << 17U;
  std::size_t first = 0;
  for ([[maybe_unused]] auto _ : state) {
    std::uint64_t sums[8] = {};
    for (std::size_t i = 0; i < kWordsARun; i += 8) {
      for (std::size_t k = 0; k < 8; ++k) sums[k] += words[first + i + k];
    }
    benchmark::DoNotOptimize(sums);
    first = (first + kWordsARun) % words.size();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kWordsARun * sizeof(std::uint64_t)));
}

/// Keys and values of one head of many sequences, each `n_positions` long: together `bytes`.
class KvCache {
 public:
  KvCache(KvFormat format, int head_size, int n_positions, std::size_t bytes)
      : format_(format),
        head_size_(head_size),
        n_positions_(n_positions),
        plane_bytes_(cpu::kv_plane_bytes(format, head_size)),
        memory_(std::max(bytes / sequence_bytes(), std::size_t{1}) * sequence_bytes()) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<std::size_t>(head_size));
    for (float& value : values) value = normal(random);
    std::byte* page = memory_.data();
    for (int slot = 0; slot < kKvPagePositions; ++slot) {
      cpu::usable_kernels().front()->store_kv(
          {values.data(), values.data(), head_size, format, page, page + plane_bytes_, slot});
    }
    for (std::size_t i = 0; i < memory_.size(); i += 2 * plane_bytes_) {
      if (i > 0) std::memcpy(memory_.data() + i, page, 2 * plane_bytes_);
      pages_.push_back(memory_.data() + i);
    }
  }

  [[nodiscard]] std::size_t n_sequences() const { return memory_.size() / sequence_bytes(); }
  [[nodiscard]] std::size_t sequence_bytes() const {
    return 2 * plane_bytes_ * static_cast<std::size_t>(n_positions_ / kKvPagePositions);
  }
  [[nodiscard]] cpu::AttentionArgs args(std::size_t sequence, int first) const {
    cpu::AttentionArgs args;
    args.head_size = head_size_;
    args.format = format_;
    args.pages = pages_.data() + sequence * static_cast<std::size_t>(n_positions_ / kKvPagePositions) +
                 static_cast<std::size_t>(first / kKvPagePositions);
    if (first + cpu::kAttentionChunk < n_positions_) {
      args.next_page = args.pages[cpu::kAttentionChunk / kKvPagePositions];
    }
    args.value_offset = plane_bytes_;
    return args;
  }

 private:
  KvFormat format_;
  int head_size_;
  int n_positions_;
  std::size_t plane_bytes_;
  AlignedBuffer<std::byte> memory_;
  std::vector<const std::byte*> pages_;
};

struct AttentionShape {
  KvFormat format;
  int head_size;
  int group;
  int n_rows;
  int n_positions;       // that every row sees
  std::size_t kv_bytes;  // read in turn
};

/// Rows of queries against a sequence, chunk after chunk, as the executor does it.
void run_attention(benchmark::State& state, const cpu::KernelTable& table, const AttentionShape& shape) {
  const KvCache cache(shape.format, shape.head_size, shape.n_positions, shape.kv_bytes);
  const int n_queries = shape.n_rows * shape.group;
  const std::size_t n_values = static_cast<std::size_t>(n_queries) * static_cast<std::size_t>(shape.head_size);
  const std::vector<float> query(n_values, 0.1F);
  std::vector<float> out(n_values);
  AlignedBuffer<float> scratch(cpu::attention_scratch_floats(n_queries, shape.head_size));
  AlignedBuffer<float> total(cpu::attention_state_floats(n_queries, shape.head_size));
  AlignedBuffer<float> chunk(total.size());
  const cpu::AttentionState sum = cpu::attention_state(total.data(), n_queries, shape.head_size);
  std::size_t sequence = 0;
  for ([[maybe_unused]] auto _ : state) {
    for (int first = 0; first < shape.n_positions; first += cpu::kAttentionChunk) {
      cpu::AttentionArgs args = cache.args(sequence, first);
      args.query = query.data();
      args.query_stride = n_values / static_cast<std::size_t>(shape.n_rows);
      args.n_rows = shape.n_rows;
      args.group = shape.group;
      args.scale = 0.125F;
      args.n_positions = shape.n_positions - first;
      args.state = first == 0 ? sum : cpu::attention_state(chunk.data(), n_queries, shape.head_size);
      args.scratch = scratch.data();
      table.attend(args);
      if (first > 0) table.merge_attention(args.state, sum, n_queries, shape.head_size);
    }
    table.finish_attention(sum, n_queries, shape.head_size, out.data());
    benchmark::ClobberMemory();
    sequence = (sequence + 1) % cache.n_sequences();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(cache.sequence_bytes()));
  const double operations = 4.0 * static_cast<double>(n_values) * shape.n_positions;
  state.counters["GOP/s"] =
      benchmark::Counter(operations * 1e-9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

void register_attention(const std::string& prefix, const cpu::KernelTable& table) {
  for (const auto& [name, format] : {std::pair("F16", KvFormat::kF16), std::pair("Q8_0", KvFormat::kQ8_0)}) {
    for (const int depth : {1024, 4096}) {
      const AttentionShape decode = {format, 64, 4, 1, depth, kStreamBytes};
      const std::string kind = prefix + "attention/" + name;
      benchmark::RegisterBenchmark((kind + "/decode/" + std::to_string(depth)).c_str(), run_attention, table, decode);
      AttentionShape prefill = decode;
      prefill.n_rows = cpu::attention_tile_rows(decode.group);
      prefill.kv_bytes = 0;
      benchmark::RegisterBenchmark((kind + "/prefill/" + std::to_string(depth)).c_str(), run_attention, table, prefill);
    }
  }
}

void run_quantize(benchmark::State& state, const cpu::KernelTable& table) {
  ActivationRows x(1);
  for ([[maybe_unused]] auto _ : state) {
    table.quantize(x.values.data(), kColumns, x.blocks.data(), 1);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kColumns);
}

void register_benchmarks() {
  benchmark::RegisterBenchmark("read", run_read);
  for (const cpu::KernelTable* table : cpu::usable_kernels()) {
    const std::string prefix = std::string(table->name) + "/";
    for_each_format([&](auto traits) {
      if (!table->reads_panels) return;  // the generic table is for correctness
      constexpr Format kFormat = decltype(traits)::format;
      const std::string format = decltype(traits)::name;
      benchmark::RegisterBenchmark((prefix + "matvec/" + format).c_str(), run_matvec, *table, kFormat);
      const auto index = static_cast<std::size_t>(format_index(kFormat));
      const Matmul matmul = table->matmul[index];
      benchmark::RegisterBenchmark((prefix + "matmul/" + format).c_str(), run_matmul, matmul, kFormat)
          ->Arg(1)
          ->Arg(128)
          ->Arg(512);
      const Matmul bulk = table->bulk_matmul[index];
      if (bulk == nullptr) return;
      benchmark::RegisterBenchmark((prefix + "bulk/" + format).c_str(), run_matmul, bulk, kFormat)
          ->Arg(32)
          ->Arg(128)
          ->Arg(512);
    });
    register_attention(prefix, *table);
    benchmark::RegisterBenchmark((prefix + "quantize").c_str(), run_quantize, *table);
  }
}

}  // namespace

int main(int argc, char** argv) {
  register_benchmarks();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
