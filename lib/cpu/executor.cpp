#include "cpu/executor.hpp"

#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "base/try.hpp"
#include "cpu/steps.hpp"

namespace inlay::cpu {
namespace {

using StepFunction = void (*)(const Step&, const StepContext&);

StepFunction step_function(StepKind kind) {
  switch (kind) {
    case StepKind::kEmbed:
      return run_embed;
    case StepKind::kQkv:
      return run_qkv;
    case StepKind::kAttend:
      return run_attend;
    case StepKind::kProject:
      return run_project;
    case StepKind::kFeedForward:
      return run_feed_forward;
    case StepKind::kDown:
      return run_project;
    case StepKind::kHead:
      return run_head;
  }
  return nullptr;
}

Result<std::unique_ptr<ThreadPool>> make_pool(const ExecutorOptions& options) {
  if (options.parallel_for) return std::make_unique<ThreadPool>(options.parallel_for, options.threads);
  try {
    return std::make_unique<ThreadPool>(options.threads);
  } catch (const std::system_error& error) {
    return Status(StatusCode::kOutOfMemory, "threads: " + std::to_string(options.threads) + ": " + error.what());
  }
}

BufferOptions buffer_options(const Plan& plan, const KernelTable& kernels, const ExecutorOptions& options) {
  const bool makes_panels = kernels.reads_panels && options.weight_layout == WeightLayout::kAsInFile;
  BufferOptions buffers;
  buffers.batch_rows = options.batch_rows;
  buffers.n_parts = options.threads;
  buffers.panel_bytes = makes_panels ? Weights::largest_panel(plan) : 0;
  buffers.has_bulk_rows = kernels.round_bulk != nullptr;
  buffers.allocator = options.allocator;
  return buffers;
}

}  // namespace

Result<std::unique_ptr<Executor>> CpuExecutor::create(const Plan& plan, const KernelTable& kernels,
                                                      const ExecutorOptions& options) {
  INLAY_TRY_ASSIGN(std::unique_ptr<ThreadPool> pool, make_pool(options));
  INLAY_TRY_ASSIGN(Weights weights, Weights::load(plan, kernels, options, *pool));
  return std::unique_ptr<Executor>(
      std::make_unique<CpuExecutor>(plan, kernels, options, std::move(pool), std::move(weights)));
}

CpuExecutor::CpuExecutor(const Plan& plan, const KernelTable& kernels, const ExecutorOptions& options,
                         std::unique_ptr<ThreadPool> pool, Weights weights)
    : plan_(plan),
      kernels_(kernels),
      pool_(std::move(pool)),
      weights_(std::move(weights)),
      buffers_(plan.spec, buffer_options(plan, kernels, options)),
      kv_(plan.spec, options.kv_format, options.allocator) {
  rows_.reserve(static_cast<std::size_t>(options.batch_rows));
  logits_.reserve(static_cast<std::size_t>(options.batch_rows));
}

void CpuExecutor::locate_pages(const RowBatch& batch) {
  page_addresses_.clear();
  sequence_pages_.clear();
  for (const std::span<const PageId> table : batch.page_tables) {
    for (const PageId page : table) page_addresses_.push_back(kv_.page(page));
  }
  const std::byte* const* next = page_addresses_.data();
  for (const std::span<const PageId> table : batch.page_tables) {
    sequence_pages_.push_back(next);
    next += table.size();
  }
}

void CpuExecutor::take_rows(const RowBatch& batch, const StepOutput& output, RowKind kind) {
  std::size_t n_wanted = 0;
  for (const Row& row : batch.rows) {
    const bool wanted = row.want == Want::kLogits;
    n_wanted += wanted ? 1 : 0;
    if (row.kind != kind) continue;
    rows_.push_back(row);
    if (wanted) logits_.push_back(output.logits[n_wanted - 1]);
  }
}

Result<void> CpuExecutor::forward(const RowBatch& batch, const StepOutput& output) {
  locate_pages(batch);
  rows_.clear();
  logits_.clear();
  take_rows(batch, output, RowKind::kBulk);
  const int n_bulk = kernels_.round_bulk != nullptr ? static_cast<int>(rows_.size()) : 0;
  take_rows(batch, output, RowKind::kSingle);
  const RowBatch ordered = {rows_, batch.page_tables};
  const StepOutput ordered_output = {logits_};
  const StepContext context{plan_, kernels_, weights_, *pool_,         buffers_,
                            kv_,   ordered,  n_bulk,   ordered_output, sequence_pages_};
  for (const Step& step : plan_.steps) {
    if (batch.is_cancelled()) return Status(StatusCode::kCancelled, "the forward pass was cancelled");
    step_function(step.kind)(step, context);
  }
  return {};
}

std::uint64_t CpuExecutor::work_bytes(const Plan& plan, const KernelTable& kernels, const ExecutorOptions& options) {
  return Buffers::bytes(plan.spec, buffer_options(plan, kernels, options));
}

Result<void> CpuExecutor::reserve_pages(int n_pages) {
  page_addresses_.reserve(static_cast<std::size_t>(n_pages));  // so that no pass does
  return kv_.reserve(n_pages);
}

Result<void> CpuExecutor::read_page(PageId page, std::byte* out) {
  std::memcpy(out, kv_.page(page), kv_.page_bytes());
  return {};
}

Result<void> CpuExecutor::write_page(PageId page, const std::byte* bytes) {
  std::memcpy(kv_.page(page), bytes, kv_.page_bytes());
  return {};
}

Result<void> CpuExecutor::copy_page(PageId from, PageId to) {
  kv_.copy(from, to);
  return {};
}

}  // namespace inlay::cpu
