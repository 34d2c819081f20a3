// Runs a plan on one CUDA device. Everything is resident: a pass uploads rows and page addresses, launches kernels that
// follow each other without the host, and reads logits or chosen tokens back.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <vector>

#include "cuda/device_plan.hpp"
#include "cuda/device_pool.hpp"
#include "cuda/kv_memory.hpp"
#include "cuda/pass_state.hpp"
#include "cuda/stream.hpp"
#include "runtime/backend.hpp"

namespace inlay::cuda {

class CudaExecutor final : public Executor {
 public:
  /// kOutOfMemory, kDeviceError, kCancelled; kUnsupported for sizes that the kernels do not take.
  static Result<std::unique_ptr<Executor>> create(const Plan& plan, const ExecutorOptions& options);
  ~CudaExecutor() override;

  /// Device memory besides weights and KV pages.
  static std::uint64_t work_bytes(const Plan& plan, const ExecutorOptions& options);

  Result<void> forward(const RowBatch& batch, const StepOutput& output) override;
  Result<void> reserve_pages(int n_pages) override;
  Result<void> copy_page(PageId from, PageId to) override;
  void discard_page(PageId /*page*/) override {}

 private:
  CudaExecutor(const Plan& plan, const ExecutorOptions& options);
  [[nodiscard]] PassState state() const;

  Result<void> upload(const RowBatch& batch);
  Result<void> run_body(int n_rows);
  Result<void> run_head(int n_logits, const StepOutput& output);

  const Plan& plan_;
  ExecutorOptions options_;
  Stream stream_;
  DevicePlan device_;
  KvMemory kv_;
  Memory page_table_;   // addresses of the pages of a pass's sequences, [reserved pages]
  Memory host_rows_;    // page-locked: what Buffers::rows gets
  Memory host_pages_;   // page-locked: what page_table_ gets
  Memory host_logits_;  // page-locked: [kLogitRows, V]
  std::size_t n_uploaded_pages_ = 0;   // that page_table_ holds as host_pages_ has them
  std::vector<std::int32_t> first_pages_;  // of the pass's sequences
  std::map<int, Graph> graphs_;            // of the body, by the number of rows
};

}  // namespace inlay::cuda
