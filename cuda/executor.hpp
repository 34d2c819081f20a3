// Runs a plan on one CUDA device. Everything is resident: a pass uploads rows and page addresses, launches kernels that
// follow each other without the host, and reads logits back.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "cuda/device_pool.hpp"
#include "cuda/kv_memory.hpp"
#include "cuda/multiply.hpp"
#include "cuda/pass_state.hpp"
#include "cuda/step_attend.hpp"
#include "cuda/step_embed.hpp"
#include "cuda/stream.hpp"
#include "cuda/weights.hpp"
#include "runtime/backend.hpp"

namespace inlay::cuda {

/// What a pass works on, in device memory.
struct Buffers {
  Memory x;          // [batch_rows, E]
  Memory query;      // [batch_rows, Q]
  Memory attention;  // [batch_rows, Q]
  Memory hidden;     // [batch_rows, F]
  Memory logits;     // [kLogitRows, V]
  Memory partial;    // [kMostPartialRows, Q + 2 * n_heads]
  Memory arrived;    // [batch_rows, n_heads]
  Memory rows;       // PassRow [batch_rows], then the rows that want logits [batch_rows]
  Memory rope;       // [batch_rows, n_pairs] cosine and sine
  Memory frequencies;

  /// Of the current device.
  static Result<Buffers> create(const Plan& plan, int batch_rows);
  static std::uint64_t bytes(const Plan& plan, int batch_rows);
};

/// Rows whose logits are computed and copied at a time.
inline constexpr int kLogitRows = 8;

class CudaExecutor final : public Executor {
 public:
  /// kOutOfMemory, kDeviceError, kCancelled; kUnsupported for sizes that the kernels do not take.
  static Result<std::unique_ptr<Executor>> create(const Plan& plan, const ExecutorOptions& options);
  ~CudaExecutor() override;

  /// Page-locked and device memory besides weights and KV pages.
  static std::uint64_t work_bytes(const Plan& plan, const ExecutorOptions& options);

  Result<void> forward(const RowBatch& batch, const StepOutput& output) override;
  Result<void> reserve_pages(int n_pages) override;
  Result<void> copy_page(PageId from, PageId to) override;
  void discard_page(PageId /*page*/) override {}

 private:
  /// Steps before the head, in order: exactly one of the three is meant.
  struct PlannedStep {
    StepKind kind = StepKind::kEmbed;
    EmbedArgs embed;
    MultiplyArgs multiply;
    AttendArgs attend;
  };

  CudaExecutor(const Plan& plan, const ExecutorOptions& options, int n_processors);
  Result<void> take_memory();
  void plan_steps();
  PlannedStep plan_step(const Step& step) const;
  [[nodiscard]] MultiplyArgs plan_multiply(const Step& step) const;
  void plan_state();

  Result<void> upload(const RowBatch& batch);
  /// All steps but the head.
  cudaError_t launch_body(int n_rows);
  cudaError_t launch_head(int first, int n);
  Result<void> run_body(int n_rows);
  Result<void> run_head(int n_logits, const StepOutput& output);

  const Plan& plan_;
  ExecutorOptions options_;
  int n_processors_;
  Stream stream_;
  Weights weights_;
  Buffers buffers_;
  KvMemory kv_;
  Memory page_table_;    // addresses of the pages of a pass's sequences, [reserved pages]
  Memory host_rows_;     // page-locked: what Buffers::rows gets
  Memory host_pages_;    // page-locked: what page_table_ gets
  Memory host_logits_;   // page-locked: [kLogitRows, V]
  std::size_t n_uploaded_pages_ = 0;  // that page_table_ holds as host_pages_ has them
  std::vector<PlannedStep> body_;
  MultiplyArgs head_;
  std::map<int, Graph> graphs_;  // of the body, by the number of rows
};

}  // namespace inlay::cuda
