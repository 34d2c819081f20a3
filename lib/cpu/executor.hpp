// Runs a plan on the CPU.
#pragma once

#include <memory>
#include <vector>

#include "cpu/buffers.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/kv_memory.hpp"
#include "cpu/thread_pool.hpp"
#include "cpu/weights.hpp"
#include "runtime/backend.hpp"

namespace inlay::cpu {

class CpuExecutor final : public Executor {
 public:
  /// kOutOfMemory, kCancelled.
  static Result<std::unique_ptr<Executor>> create(const Plan& plan, const KernelTable& kernels,
                                                  const ExecutorOptions& options);
  CpuExecutor(const Plan& plan, const KernelTable& kernels, const ExecutorOptions& options,
              std::unique_ptr<ThreadPool> pool, Weights weights);

  /// Of the work buffers.
  static std::uint64_t work_bytes(const Plan& plan, const KernelTable& kernels, const ExecutorOptions& options);

  Result<void> forward(const RowBatch& batch, const StepOutput& output) override;
  Result<void> reserve_pages(int n_pages) override;
  Result<void> copy_page(PageId from, PageId to) override;
  [[nodiscard]] PageLayout page_layout() const override { return PageLayout::kCpu; }
  [[nodiscard]] std::size_t page_bytes() const override { return kv_.page_bytes(); }
  Result<void> read_page(PageId page, std::byte* out) override;
  Result<void> write_page(PageId page, const std::byte* bytes) override;
  void discard_page(PageId page) override { kv_.discard(page); }

 private:
  void locate_pages(const RowBatch& batch);
  /// Takes over the rows of one kind, in their order, and where their logits go.
  void take_rows(const RowBatch& batch, const StepOutput& output, RowKind kind);

  const Plan& plan_;
  const KernelTable& kernels_;
  std::unique_ptr<ThreadPool> pool_;
  Weights weights_;
  Buffers buffers_;
  KvMemory kv_;
  std::vector<Row> rows_;                                // of the pass, the bulk rows first
  std::vector<float*> logits_;                           // in the order of the rows that want them
  std::vector<const std::byte*> page_addresses_;         // of all sequences of the batch, one after the other
  std::vector<const std::byte* const*> sequence_pages_;  // where each sequence begins in it
};

}  // namespace inlay::cpu
