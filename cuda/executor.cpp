#include "cuda/executor.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/try.hpp"
#include "cuda/cuda_status.hpp"

namespace inlay::cuda {
namespace {

constexpr int kMostGraphRows = 8;  // larger passes take long enough to launch kernel by kernel
static_assert(kMostChoices <= kLogitRows);

std::size_t count(int a, int b = 1) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

RowChoice row_choice(const Choice& choice) {
  const SamplingOptions& sampling = choice.sampling;
  const float log_min_p = sampling.min_p > 0.0F ? std::log(sampling.min_p) : -INFINITY;
  return {sampling.temperature, sampling.top_k, sampling.top_p, log_min_p, choice.random};
}

}  // namespace

std::uint64_t CudaExecutor::work_bytes(const Plan& plan, const ExecutorOptions& options) {
  return DevicePlan::work_bytes(plan, options.batch_rows, KvMemory::layout_of(plan.spec, options.kv_format));
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
  for (Staging& staging : executor->staging_) {
    INLAY_TRY_ASSIGN(staging.rows, DevicePool::take(buffers.upload.bytes(), MemoryKind::kPinnedHost, "work buffers"));
    INLAY_TRY(staging.copied.create());
  }
  for (Event& done : executor->done_) INLAY_TRY(done.create());
  constexpr std::size_t kTokenBytes = std::size_t{kChoiceRing} * kLogitRows * sizeof(std::int32_t);
  INLAY_TRY_ASSIGN(executor->host_tokens_, DevicePool::take(kTokenBytes, MemoryKind::kPinnedHost, "work buffers"));
  constexpr std::size_t kCountBytes = kLogitRows * sizeof(unsigned);
  INLAY_TRY_ASSIGN(executor->n_chosen_, DevicePool::take(kCountBytes, MemoryKind::kDevice, "work buffers"));
  INLAY_TRY(check(cudaMemsetAsync(executor->n_chosen_.as(), 0, kCountBytes, executor->stream_.get()), "work buffers"));
  INLAY_TRY_ASSIGN(executor->host_logits_,
                   DevicePool::take(buffers.logits.bytes(), MemoryKind::kPinnedHost, "work buffers"));
  return std::unique_ptr<Executor>(std::move(executor));
}

PassState CudaExecutor::state() const {
  PassState state;
  const PassUpload upload(device_.buffers().upload.as(), options_.batch_rows);
  state.choices = upload.choices;
  state.rows = upload.rows;
  state.logit_rows = upload.logit_rows;
  state.pages = page_table_.as<std::byte*>();
  state.n_chosen = n_chosen_.as<unsigned>();
  state.host_tokens = host_tokens_.as<std::int32_t>();
  return state;
}

Result<void> CudaExecutor::reserve_pages(int n_pages) {
  const DeviceScope scope(options_.device_index);
  INLAY_TRY(scope.status());
  if (n_pages <= kv_.n_pages()) return {};
  const std::size_t bytes = count(n_pages) * sizeof(std::byte*);
  INLAY_TRY_ASSIGN(Memory table, DevicePool::take(bytes, MemoryKind::kDevice, "page table"));
  std::array<Memory, 4> host;
  for (Memory& memory : host) {
    INLAY_TRY_ASSIGN(memory, DevicePool::take(bytes, MemoryKind::kPinnedHost, "page table"));
  }
  INLAY_TRY(check(cudaStreamSynchronize(stream_.get()), "CUDA pass"));  // nothing reads the tables that go
  INLAY_TRY(kv_.reserve(n_pages, stream_.get()));
  page_table_ = std::move(table);
  for (std::size_t i = 0; i < host.size(); ++i) staging_[i].pages = std::move(host[i]);
  uploaded_pages_.clear();
  device_.set_state(state());
  graphs_.clear();
  return {};
}

Result<void> CudaExecutor::copy_page(PageId from, PageId to) {
  const DeviceScope scope(options_.device_index);
  INLAY_TRY(scope.status());
  return check(kv_.copy(from, to, stream_.get()), "KV cache");
}

Result<void> CudaExecutor::read_page(PageId page, std::byte* out) {
  const DeviceScope scope(options_.device_index);
  INLAY_TRY(scope.status());
  INLAY_TRY(
      check(cudaMemcpyAsync(out, kv_.page(page), kv_.page_bytes(), cudaMemcpyDeviceToHost, stream_.get()), "KV cache"));
  return check(cudaStreamSynchronize(stream_.get()), "KV cache");
}

Result<void> CudaExecutor::write_page(PageId page, const std::byte* bytes) {
  const DeviceScope scope(options_.device_index);
  INLAY_TRY(scope.status());
  INLAY_TRY(check(cudaMemcpyAsync(kv_.page(page), bytes, kv_.page_bytes(), cudaMemcpyHostToDevice, stream_.get()),
                  "KV cache"));
  return check(cudaStreamSynchronize(stream_.get()), "KV cache");
}

Result<CudaExecutor::Staging*> CudaExecutor::next_staging() {
  Staging& staging = staging_[next_staging_];
  next_staging_ = (next_staging_ + 1) % staging_.size();
  INLAY_TRY(staging.copied.wait());
  return &staging;
}

/// Sends the page table if it is another than before, and says whether it was.
Result<bool> CudaExecutor::upload_pages(const RowBatch& batch, Staging& staging) {
  first_pages_.clear();
  pages_.clear();
  for (const std::span<const PageId> table : batch.page_tables) {
    first_pages_.push_back(static_cast<std::int32_t>(pages_.size()));
    for (const PageId id : table) pages_.push_back(kv_.page(id));
  }
  if (pages_ == uploaded_pages_) return false;
  const std::size_t bytes = pages_.size() * sizeof(std::byte*);
  std::memcpy(staging.pages.as(), pages_.data(), bytes);
  INLAY_TRY(check(cudaMemcpyAsync(page_table_.as(), staging.pages.as(), bytes, cudaMemcpyHostToDevice, stream_.get()),
                  "CUDA upload"));
  uploaded_pages_ = pages_;
  return true;
}

/// Sends what the device does not know of the pass yet.
Result<void> CudaExecutor::upload(const RowBatch& batch, std::span<const Choice> choices) {
  INLAY_TRY_ASSIGN(Staging * staging, next_staging());
  INLAY_TRY_ASSIGN(const bool has_new_pages, upload_pages(batch, *staging));
  const PassUpload from(staging->rows.as(), options_.batch_rows);
  const PassUpload to(device_.buffers().upload.as(), options_.batch_rows);
  std::int32_t n_rows = 0;
  std::int32_t n_logits = 0;
  for (const Row& row : batch.rows) {
    from.rows[n_rows] = {row.token, row.position, first_pages_[static_cast<std::size_t>(row.sequence)]};
    if (row.want == Want::kLogits) from.logit_rows[n_logits++] = n_rows;
    ++n_rows;
  }
  std::transform(choices.begin(), choices.end(), from.choices, row_choice);
  if (batch.rows.front().token != kChosenBefore) {
    const auto bytes = reinterpret_cast<std::byte*>(from.logit_rows + n_logits) - staging->rows.as();
    INLAY_TRY(check(cudaMemcpyAsync(to.choices, from.choices, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice,
                                    stream_.get()),
                    "CUDA upload"));
  } else if (!has_new_pages) {  // the device knows everything
    return {};
  } else {
    INLAY_TRY(
        check(cudaMemcpy2DAsync(&to.rows->first_page, sizeof(PassRow), &from.rows->first_page, sizeof(PassRow),
                                sizeof(PassRow::first_page), count(n_rows), cudaMemcpyHostToDevice, stream_.get()),
              "CUDA upload"));
  }
  return staging->copied.record(stream_.get());
}

/// Launches what `launch()` puts on the stream, as a graph that is kept for the next time.
template <class Launch>
Result<void> CudaExecutor::run_graph(const GraphKey& key, const Launch& launch) {
  auto found = graphs_.find(key);
  if (found == graphs_.end()) {
    Graph graph;
    INLAY_TRY(graph.capture(stream_.get(), launch));
    found = graphs_.emplace(key, std::move(graph)).first;
  }
  return found->second.launch(stream_.get());
}

/// The set of places of a pass of so many rows that hands over word by word, or kNoSet.
int CudaExecutor::relay_set(int n_rows) const { return n_rows == 1 && device_.can_relay() ? next_set_ : kNoSet; }

/// After the launch of a pass with that set.
void CudaExecutor::use_up(int set) {
  if (set != kNoSet) next_set_ = (set + 1) % kRelaySets;
}

Result<void> CudaExecutor::run_body(int n_rows) {
  const int set = relay_set(n_rows);
  const auto launch = [&] { return device_.launch_body(n_rows, set, stream_.get()); };
  if (n_rows > kMostGraphRows) return check(launch(), "CUDA kernels");
  return run_graph({n_rows, set, Ending::kNone}, launch);
}

Result<void> CudaExecutor::run_head(int n_logits, int set, const StepOutput& output) {
  const std::size_t row_bytes = count(plan_.spec.vocab_size) * sizeof(float);
  for (int first = 0; first < n_logits; first += kLogitRows) {
    const int n = std::min(kLogitRows, n_logits - first);
    INLAY_TRY(check(device_.launch_head(first, n, set, false, false, stream_.get()), "CUDA kernels"));
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
  latest_ = 0;
  INLAY_TRY(upload(batch, {}));
  const auto n_rows = static_cast<int>(batch.rows.size());
  const int set = relay_set(n_rows);
  INLAY_TRY(run_body(n_rows));
  use_up(set);
  INLAY_TRY(run_head(static_cast<int>(output.logits.size()), set, output));
  return check(cudaStreamSynchronize(stream_.get()), "CUDA pass");
}

Result<void> CudaExecutor::run_choosing(std::span<const Choice> choices) {
  const bool draws = std::any_of(choices.begin(), choices.end(),
                                 [](const Choice& choice) { return choice.sampling.temperature > 0.0F; });
  const auto n = static_cast<int>(choices.size());
  const int set = relay_set(n);
  INLAY_TRY(run_graph({n, set, draws ? Ending::kDraw : Ending::kChoose}, [&] {
    cudaError_t error = device_.launch_body(n, set, stream_.get());
    if (error == cudaSuccess) error = device_.launch_head(0, n, set, true, !draws, stream_.get());
    if (error != cudaSuccess) return error;
    return draws ? device_.launch_sample(n, stream_.get()) : cudaSuccess;
  }));
  use_up(set);
  return {};
}

Result<PassId> CudaExecutor::start(const RowBatch& batch, std::span<const Choice> choices) {
  const DeviceScope scope(options_.device_index);
  INLAY_TRY(scope.status());
  INLAY_TRY(upload(batch, choices));
  INLAY_TRY(run_choosing(choices));
  const Event& done = done_[n_started_ % kChoiceRing];
  latest_ = ++n_started_;
  INLAY_TRY(done.record(stream_.get()));
  return latest_;
}

Result<void> CudaExecutor::chosen(PassId pass, std::span<TokenId> tokens) {
  const auto slot = static_cast<std::size_t>((pass - 1) % kChoiceRing);
  INLAY_TRY(done_[slot].wait());
  std::copy_n(host_tokens_.as<const volatile std::int32_t>() + slot * kLogitRows, tokens.size(), tokens.begin());
  return {};
}

}  // namespace inlay::cuda
