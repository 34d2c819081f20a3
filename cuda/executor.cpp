#include "cuda/executor.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/try.hpp"
#include "cuda/cuda_status.hpp"

namespace inlay::cuda {
namespace {

constexpr int kMostGraphRows = 8;  // larger passes take long enough to launch kernel by kernel

std::size_t count(int a, int b = 1) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

}  // namespace

std::uint64_t CudaExecutor::work_bytes(const Plan& plan, const ExecutorOptions& options) {
  return Buffers::bytes(plan, options.batch_rows);
}

CudaExecutor::CudaExecutor(const Plan& plan, const ExecutorOptions& options)
    : plan_(plan), options_(options), kv_(plan.spec, options.kv_format) {
  options_.progress = {};
}

CudaExecutor::~CudaExecutor() {
  const DeviceScope scope(options_.device_index);
  if (stream_.get() != nullptr) cudaStreamSynchronize(stream_.get());
}

Result<std::unique_ptr<Executor>> CudaExecutor::create(const Plan& plan, const ExecutorOptions& options) {
  const DeviceScope scope(options.device_index);
  INLAY_TRY(scope.status());
  std::unique_ptr<CudaExecutor> executor(new CudaExecutor(plan, options));
  INLAY_TRY(executor->stream_.create());
  INLAY_TRY_ASSIGN(executor->device_,
                   DevicePlan::create(plan, options, executor->kv_.layout(), executor->stream_.get()));
  const Buffers& buffers = executor->device_.buffers();
  INLAY_TRY_ASSIGN(executor->host_rows_, DevicePool::take(buffers.rows.bytes(), MemoryKind::kPinnedHost, "work buffers"));
  INLAY_TRY_ASSIGN(executor->host_logits_,
                   DevicePool::take(buffers.logits.bytes(), MemoryKind::kPinnedHost, "work buffers"));
  return std::unique_ptr<Executor>(std::move(executor));
}

PassState CudaExecutor::state() const {
  PassState state;
  state.rows = device_.buffers().rows.as<PassRow>();
  state.logit_rows = reinterpret_cast<std::int32_t*>(state.rows + options_.batch_rows);
  state.pages = page_table_.as<std::byte*>();
  state.rope = device_.buffers().rope.as<float2>();
  return state;
}

Result<void> CudaExecutor::reserve_pages(int n_pages) {
  const DeviceScope scope(options_.device_index);
  INLAY_TRY(scope.status());
  if (n_pages <= kv_.n_pages()) return {};
  const std::size_t bytes = count(n_pages) * sizeof(std::byte*);
  INLAY_TRY_ASSIGN(Memory table, DevicePool::take(bytes, MemoryKind::kDevice, "page table"));
  INLAY_TRY_ASSIGN(Memory host, DevicePool::take(bytes, MemoryKind::kPinnedHost, "page table"));
  INLAY_TRY(kv_.reserve(n_pages, stream_.get()));
  page_table_ = std::move(table);
  host_pages_ = std::move(host);
  n_uploaded_pages_ = 0;
  device_.set_state(state());
  graphs_.clear();
  return {};
}

Result<void> CudaExecutor::copy_page(PageId from, PageId to) {
  const DeviceScope scope(options_.device_index);
  INLAY_TRY(scope.status());
  return check(kv_.copy(from, to, stream_.get()), "KV cache");
}

/// Sends the rows of the pass, and the page table if it is another than before.
Result<void> CudaExecutor::upload(const RowBatch& batch) {
  auto** pages = host_pages_.as<std::byte*>();
  std::size_t n_pages = 0;
  bool changed = false;
  first_pages_.clear();
  for (const std::span<const PageId> table : batch.page_tables) {
    first_pages_.push_back(static_cast<std::int32_t>(n_pages));
    for (const PageId id : table) {
      std::byte* page = kv_.page(id);
      changed = changed || n_pages >= n_uploaded_pages_ || pages[n_pages] != page;
      pages[n_pages++] = page;
    }
  }
  auto* rows = host_rows_.as<PassRow>();
  auto* logit_rows = reinterpret_cast<std::int32_t*>(rows + options_.batch_rows);
  std::int32_t n_rows = 0;
  for (const Row& row : batch.rows) {
    rows[n_rows] = {row.token, row.position, first_pages_[static_cast<std::size_t>(row.sequence)]};
    if (row.want == Want::kLogits) *logit_rows++ = n_rows;
    ++n_rows;
  }
  const auto bytes = static_cast<std::size_t>(reinterpret_cast<std::byte*>(logit_rows) - host_rows_.as());
  INLAY_TRY(check(cudaMemcpyAsync(device_.buffers().rows.as(), host_rows_.as(), bytes, cudaMemcpyHostToDevice, stream_.get()),
                  "CUDA upload"));
  if (!changed) return {};
  n_uploaded_pages_ = n_pages;
  return check(cudaMemcpyAsync(page_table_.as(), pages, n_pages * sizeof(std::byte*), cudaMemcpyHostToDevice,
                               stream_.get()),
               "CUDA upload");
}

Result<void> CudaExecutor::run_body(int n_rows) {
  if (n_rows > kMostGraphRows) return check(device_.launch_body(n_rows, stream_.get()), "CUDA kernels");
  auto found = graphs_.find(n_rows);
  if (found == graphs_.end()) {
    Graph graph;
    INLAY_TRY(graph.capture(stream_.get(), [&] { return device_.launch_body(n_rows, stream_.get()); }));
    found = graphs_.emplace(n_rows, std::move(graph)).first;
  }
  return found->second.launch(stream_.get());
}

Result<void> CudaExecutor::run_head(int n_logits, const StepOutput& output) {
  const std::size_t row_bytes = count(plan_.spec.vocab_size) * sizeof(float);
  for (int first = 0; first < n_logits; first += kLogitRows) {
    const int n = std::min(kLogitRows, n_logits - first);
    INLAY_TRY(check(device_.launch_head(first, n, stream_.get()), "CUDA kernels"));
    INLAY_TRY(check(cudaMemcpyAsync(host_logits_.as(), device_.buffers().logits.as(), count(n) * row_bytes,
                                    cudaMemcpyDeviceToHost, stream_.get()),
                    "CUDA logits"));
    INLAY_TRY(check(cudaStreamSynchronize(stream_.get()), "CUDA pass"));
    for (int i = 0; i < n; ++i) {
      std::memcpy(output.logits[static_cast<std::size_t>(first + i)], host_logits_.as() + count(i) * row_bytes,
                  row_bytes);
    }
  }
  return {};
}

Result<void> CudaExecutor::forward(const RowBatch& batch, const StepOutput& output) {
  const DeviceScope scope(options_.device_index);
  INLAY_TRY(scope.status());
  INLAY_TRY(upload(batch));
  INLAY_TRY(run_body(static_cast<int>(batch.rows.size())));
  INLAY_TRY(run_head(static_cast<int>(output.logits.size()), output));
  // The page-locked rows are filled anew by the next pass.
  return check(cudaStreamSynchronize(stream_.get()), "CUDA pass");
}

}  // namespace inlay::cuda
