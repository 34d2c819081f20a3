#include "cpu/executor.hpp"

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

std::unique_ptr<ThreadPool> make_pool(const ExecutorOptions& options) {
  if (options.parallel_for) return std::make_unique<ThreadPool>(options.parallel_for, options.threads);
  return std::make_unique<ThreadPool>(options.threads);
}

/// Of the panels that a thread makes during a pass.
std::size_t scratch_panel_bytes(const Plan& plan, const KernelTable& kernels, const ExecutorOptions& options) {
  const bool makes_panels = kernels.reads_panels && options.weight_layout == WeightLayout::kAsInFile;
  return makes_panels ? Weights::largest_panel(plan) : 0;
}

}  // namespace

Result<std::unique_ptr<Executor>> CpuExecutor::create(const Plan& plan, const KernelTable& kernels,
                                                      const ExecutorOptions& options) {
  std::unique_ptr<ThreadPool> pool = make_pool(options);
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
      buffers_(plan.spec, options.batch_rows, options.threads, scratch_panel_bytes(plan, kernels, options)),
      kv_(plan.spec, options.kv_format) {}

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

Result<void> CpuExecutor::forward(const RowBatch& batch, const StepOutput& output) {
  locate_pages(batch);
  const StepContext context{plan_, kernels_, weights_, *pool_, buffers_, kv_, batch, output, sequence_pages_};
  for (const Step& step : plan_.steps) step_function(step.kind)(step, context);
  return {};
}

std::uint64_t CpuExecutor::work_bytes(const Plan& plan, const KernelTable& kernels, const ExecutorOptions& options) {
  return Buffers::bytes(plan.spec, options.batch_rows, options.threads, scratch_panel_bytes(plan, kernels, options));
}

Result<void> CpuExecutor::reserve_pages(int n_pages) {
  page_addresses_.reserve(static_cast<std::size_t>(n_pages));  // so that no pass does
  return kv_.reserve(n_pages);
}

Result<void> CpuExecutor::copy_page(PageId from, PageId to) {
  kv_.copy(from, to);
  return {};
}

}  // namespace inlay::cpu
