#include "cpu/executor.hpp"

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

}  // namespace

CpuExecutor::CpuExecutor(const Plan& plan, const KernelTable& kernels, const ExecutorOptions& options)
    : plan_(plan),
      kernels_(kernels),
      pool_(make_pool(options)),
      buffers_(plan.spec, options.batch_rows, options.threads),
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
  const StepContext context{plan_, kernels_, *pool_, buffers_, kv_, batch, output, sequence_pages_};
  for (const Step& step : plan_.steps) step_function(step.kind)(step, context);
  return {};
}

Result<void> CpuExecutor::copy_page(PageId from, PageId to) {
  kv_.copy(from, to);
  return {};
}

}  // namespace inlay::cpu
