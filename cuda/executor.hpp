// Runs a plan on one CUDA device. Everything is resident: a pass uploads rows and page addresses, launches kernels that
// follow each other without the host, and reads logits or chosen tokens back.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <map>
#include <memory>
#include <span>
#include <tuple>
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
  [[nodiscard]] bool chooses_tokens() const override { return true; }
  Result<PassId> start(const RowBatch& batch, std::span<const Choice> choices) override;
  Result<void> chosen(PassId pass, std::span<TokenId> tokens) override;
  [[nodiscard]] PassId latest_pass() const override { return latest_; }
  Result<PassProfile> profile(const RowBatch& batch) override;
  Result<void> reserve_pages(int n_pages) override;
  Result<void> copy_page(PageId from, PageId to) override;
  [[nodiscard]] PageLayout page_layout() const override { return PageLayout::kCuda; }
  [[nodiscard]] std::size_t page_bytes() const override { return kv_.page_bytes(); }
  Result<void> read_page(PageId page, std::byte* out) override;
  Result<void> write_page(PageId page, const std::byte* bytes) override;
  void discard_page(PageId /*page*/) override {}

 private:
  CudaExecutor(const Plan& plan, const ExecutorOptions& options);
  [[nodiscard]] PassState state() const;

  /// Page-locked memory that a pass is uploaded from; `copied` tells when it may be filled anew.
  struct Staging {
    Memory rows;   // what Buffers::upload gets
    Memory pages;  // what page_table_ gets
    Event copied;
  };

  Result<Staging*> next_staging();
  Result<void> upload(const RowBatch& batch, std::span<const Choice> choices);
  Result<bool> upload_pages(const RowBatch& batch, Staging& staging);
  /// What stands behind the body of a pass in a graph: the head and the choice of a token.
  enum class Ending : std::uint8_t { kNone, kChoose, kDraw };
  using GraphKey = std::tuple<int, int, Ending>;  // rows, set of places of a relay or kNoSet
  template <class Launch>
  Result<void> run_graph(const GraphKey& key, const Launch& launch);
  [[nodiscard]] int relay_set(int n_rows) const;
  void use_up(int set);
  Result<void> run_body(int n_rows);
  Result<void> run_choosing(std::span<const Choice> choices);
  Result<void> run_head(int n_logits, int set, const StepOutput& output);
  // Of `profile` (executor_profile.cpp):
  Result<void> run_step(int step);
  [[nodiscard]] std::vector<StepProfile> describe_steps(int position) const;

  const Plan& plan_;
  ExecutorOptions options_;
  Stream stream_;
  DevicePlan device_;
  KvMemory kv_;
  Memory page_table_;   // addresses of the pages of a pass's sequences, [reserved pages]
  Memory n_chosen_;     // PassState::n_chosen
  Memory host_tokens_;  // page-locked: PassState::host_tokens
  Memory host_logits_;  // page-locked: [kLogitRows, V]
  std::array<Staging, 4> staging_;
  std::size_t next_staging_ = 0;
  std::vector<std::byte*> uploaded_pages_;  // what page_table_ holds
  std::vector<std::byte*> pages_;           // of the pass
  std::vector<std::int32_t> first_pages_;   // of the pass's sequences
  std::map<GraphKey, Graph> graphs_;
  int next_set_ = 0;  // of the places of a relay (relay.hpp)
  PassId n_started_ = 0;
  PassId latest_ = 0;                    // the pass started last, if no other has run since
  std::array<Event, kChoiceRing> done_;  // of the passes started
};

}  // namespace inlay::cuda
