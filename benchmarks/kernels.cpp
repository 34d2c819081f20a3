// Speed of the CPU kernels, one thread: matvec in bytes of weights a second, beside a plain read of the same memory;
// matmul and attention in operations a second.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/aligned_buffer.hpp"
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
  [[nodiscard]] cpu::Activations view() const { return {values.data(), blocks.data(), n_rows, kColumns}; }
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

void run_matmul(benchmark::State& state, const cpu::KernelTable& table, Format format) {
  const auto n_tokens = static_cast<int>(state.range(0));
  const AlignedBuffer<std::byte> weights = make_weights(format, kRowsARun);
  const ActivationRows x(n_tokens);
  std::vector<float> out(static_cast<std::size_t>(n_tokens) * kRowsARun);
  cpu::MatmulArgs args;
  args.panels = weights.data();
  args.panel_bytes = cpu::panel_bytes(format, kColumns);
  args.n_matrix_rows = kRowsARun;
  args.row_end = kRowsARun;
  args.x = x.view();
  args.out = out.data();
  args.out_stride = kRowsARun;
  const auto matmul = table.matmul[static_cast<std::size_t>(format_index(format))];
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

void run_attention(benchmark::State& state, const cpu::KernelTable& table) {
  constexpr int kGroup = 4;
  constexpr int kHeadSize = 64;
  constexpr int kPositions = 1024;
  constexpr std::size_t kPageHalves = std::size_t{kKvPagePositions} * kHeadSize;
  const AlignedBuffer<std::uint16_t> memory(2 * kPageHalves * (kPositions / kKvPagePositions));
  std::vector<const std::byte*> pages;
  for (std::size_t i = 0; i < memory.size(); i += 2 * kPageHalves) {
    pages.push_back(reinterpret_cast<const std::byte*>(memory.data() + i));
  }
  const std::vector<float> query(std::size_t{kGroup} * kHeadSize, 1.0F);
  std::vector<float> out(query.size());
  std::vector<float> scratch(cpu::attention_scratch_floats(kGroup, kHeadSize));
  cpu::AttentionArgs args;
  args.query = query.data();
  args.group = kGroup;
  args.head_size = kHeadSize;
  args.scale = 0.125F;
  args.pages = pages.data();
  args.value_offset = kPageHalves * sizeof(std::uint16_t);
  args.n_positions = kPositions;
  args.out = out.data();
  args.scratch = scratch.data();
  for ([[maybe_unused]] auto _ : state) {
    table.attend(args);
    benchmark::ClobberMemory();
  }
  const double operations = 4.0 * kGroup * kHeadSize * kPositions * static_cast<double>(state.iterations());
  state.counters["GOP/s"] = benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsRate);
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
      benchmark::RegisterBenchmark((prefix + "matmul/" + format).c_str(), run_matmul, *table, kFormat)
          ->Arg(1)
          ->Arg(128);
    });
    benchmark::RegisterBenchmark((prefix + "attention").c_str(), run_attention, *table);
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
