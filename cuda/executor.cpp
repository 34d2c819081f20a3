#include "cuda/executor.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/try.hpp"
#include "cuda/cuda_status.hpp"
#include "model/kv_page.hpp"

namespace inlay::cuda {
namespace {

constexpr int kMostGraphRows = 8;  // larger passes take long enough to launch kernel by kernel

std::size_t count(int a, int b = 1) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

/// Takes all members of Buffers, or adds up their bytes.
template <class Visitor>
void for_each_buffer(const Plan& plan, int batch_rows, Buffers& buffers, const Visitor& visitor) {
  const ModelSpec& spec = plan.spec;
  constexpr std::size_t kFloat = sizeof(float);
  visitor(buffers.x, count(batch_rows, spec.embedding_length) * kFloat);
  visitor(buffers.query, count(batch_rows, spec.query_length()) * kFloat);
  visitor(buffers.attention, count(batch_rows, spec.query_length()) * kFloat);
  visitor(buffers.hidden, count(batch_rows, spec.feed_forward_length) * kFloat);
  visitor(buffers.logits, count(kLogitRows, spec.vocab_size) * kFloat);
  visitor(buffers.partial, count(kMostPartialRows, spec.query_length() + 2 * spec.n_heads) * kFloat);
  visitor(buffers.arrived, count(batch_rows, spec.n_heads) * sizeof(unsigned));
  visitor(buffers.rows, count(batch_rows) * (sizeof(PassRow) + sizeof(std::int32_t)));
  visitor(buffers.rope, count(batch_rows, spec.rope.n_pairs) * 2 * kFloat);
  visitor(buffers.frequencies, plan.rope.frequencies.size() * sizeof(double));
}

Result<void> check_plan(const Plan& plan) {
  const ModelSpec& spec = plan.spec;
  const auto refuse = [](const std::string& what) {
    return Status(StatusCode::kUnsupported, "model option device: on CUDA " + what);
  };
  if (spec.head_size % 8 != 0 || spec.head_size > kMostHeadSize) {
    return refuse("heads must have a multiple of 8 and at most " + std::to_string(kMostHeadSize) +
                  " values, this model's have " + std::to_string(spec.head_size));
  }
  for (const Step& step : plan.steps) {
    if (step.kind == StepKind::kEmbed || step.matrix == kNoTensor) continue;
    const Matrix& matrix = plan.tensors.matrix(step.matrix);
    if (matrix.cols % 8 != 0 || !multiply_fits(matrix.format, matrix.cols)) {
      return refuse("rows of " + std::to_string(matrix.cols) + " weights are too long or no multiple of 8: tensor \"" +
                    matrix.name + "\"");
    }
    if (step.kind != StepKind::kFeedForward) continue;
    const Matrix& up = plan.tensors.matrix(step.second);
    if (record_info(matrix.format).input != record_info(up.format).input) {
      return refuse("the formats of tensors \"" + matrix.name + "\" and \"" + up.name + "\" cannot be mixed");
    }
  }
  return {};
}

}  // namespace

Result<Buffers> Buffers::create(const Plan& plan, int batch_rows) {
  Buffers buffers;
  Result<void> done;
  for_each_buffer(plan, batch_rows, buffers, [&](Memory& memory, std::size_t bytes) {
    if (!done.ok()) return;
    Result<Memory> taken = DevicePool::take(bytes, MemoryKind::kDevice, "work buffers");
    if (taken.ok()) {
      memory = *std::move(taken);
    } else {
      done = taken.status();
    }
  });
  INLAY_TRY(done);
  return buffers;
}

std::uint64_t Buffers::bytes(const Plan& plan, int batch_rows) {
  Buffers none;
  std::uint64_t total = 0;
  for_each_buffer(plan, batch_rows, none, [&](Memory&, std::size_t bytes) { total += bytes; });
  return total;
}

std::uint64_t CudaExecutor::work_bytes(const Plan& plan, const ExecutorOptions& options) {
  return Buffers::bytes(plan, options.batch_rows);
}

CudaExecutor::CudaExecutor(const Plan& plan, const ExecutorOptions& options, int n_processors)
    : plan_(plan), options_(options), n_processors_(n_processors), kv_(plan.spec, options.kv_format) {}

CudaExecutor::~CudaExecutor() {
  const DeviceScope scope(options_.device_index);
  if (stream_.get() != nullptr) cudaStreamSynchronize(stream_.get());
}

Result<std::unique_ptr<Executor>> CudaExecutor::create(const Plan& plan, const ExecutorOptions& options) {
  const DeviceScope scope(options.device_index);
  INLAY_TRY(scope.status());
  INLAY_TRY(check_plan(plan));
  int n_processors = 0;
  INLAY_TRY(check(cudaDeviceGetAttribute(&n_processors, cudaDevAttrMultiProcessorCount, options.device_index),
                  "CUDA device"));
  INLAY_TRY(check(prepare_multiply(), "CUDA kernels"));
  std::unique_ptr<CudaExecutor> executor(new CudaExecutor(plan, options, n_processors));
  INLAY_TRY(executor->stream_.create());
  INLAY_TRY_ASSIGN(executor->weights_, Weights::load(plan, options, executor->stream_.get()));
  INLAY_TRY(executor->take_memory());
  executor->options_.progress = {};
  executor->plan_steps();
  return std::unique_ptr<Executor>(std::move(executor));
}

Result<void> CudaExecutor::take_memory() {
  INLAY_TRY_ASSIGN(buffers_, Buffers::create(plan_, options_.batch_rows));
  INLAY_TRY_ASSIGN(host_rows_, DevicePool::take(buffers_.rows.bytes(), MemoryKind::kPinnedHost, "work buffers"));
  INLAY_TRY_ASSIGN(host_logits_, DevicePool::take(buffers_.logits.bytes(), MemoryKind::kPinnedHost, "work buffers"));
  INLAY_TRY(check(cudaMemsetAsync(buffers_.arrived.as(), 0, buffers_.arrived.bytes(), stream_.get()), "work buffers"));
  INLAY_TRY(check(cudaMemcpyAsync(buffers_.frequencies.as(), plan_.rope.frequencies.data(), buffers_.frequencies.bytes(),
                                  cudaMemcpyHostToDevice, stream_.get()),
                  "work buffers"));
  return check(cudaStreamSynchronize(stream_.get()), "work buffers");
}

MultiplyArgs CudaExecutor::plan_multiply(const Step& step) const {
  MultiplyArgs args;
  const auto add_part = [&](MatrixId matrix, VectorId bias) {
    if (matrix == kNoTensor) return;
    args.parts[static_cast<std::size_t>(args.n_parts)] = {weights_.matrix(matrix), weights_.vector(bias), 0};
    ++args.n_parts;
  };
  args.n_parts = 0;
  add_part(step.matrix, step.bias);
  add_part(step.second, step.second_bias);
  add_part(step.third, step.third_bias);
  args.norm = weights_.vector(step.norm);
  args.epsilon = plan_.spec.norm_epsilon;
  args.activation = plan_.spec.arch->activation;
  args.n_cols = args.parts[0].matrix.n_cols;
  switch (step.kind) {
    case StepKind::kQkv:
      args.epilogue = Epilogue::kQkv;
      args.x = buffers_.x.as<float>(), args.out = buffers_.query.as<float>();
      args.kv.layout = kv_.layout();
      args.kv.layer = step.layer;
      args.kv.n_pairs = plan_.spec.rope.n_pairs;
      break;
    case StepKind::kProject:
    case StepKind::kDown:
      args.epilogue = Epilogue::kAdd;
      args.x = step.kind == StepKind::kProject ? buffers_.attention.as<float>() : buffers_.hidden.as<float>();
      args.out = buffers_.x.as<float>();
      break;
    case StepKind::kFeedForward:
      args.epilogue = Epilogue::kGated;
      args.x = buffers_.x.as<float>(), args.out = buffers_.hidden.as<float>();
      break;
    default:
      args.epilogue = Epilogue::kStore;
      args.x = buffers_.x.as<float>(), args.out = buffers_.logits.as<float>();
      break;
  }
  args.out_stride = args.parts[0].matrix.n_rows;
  choose_shape(args, n_processors_);
  return args;
}

CudaExecutor::PlannedStep CudaExecutor::plan_step(const Step& step) const {
  PlannedStep planned{.kind = step.kind, .embed = {}, .multiply = {}, .attend = {}};
  if (step.kind == StepKind::kEmbed) {
    planned.embed.table = weights_.matrix(step.matrix);
    planned.embed.frequencies = buffers_.frequencies.as<double>();
    planned.embed.magnitude = plan_.rope.magnitude;
    planned.embed.n_pairs = plan_.spec.rope.n_pairs;
    planned.embed.x = buffers_.x.as<float>();
  } else if (step.kind == StepKind::kAttend) {
    AttendArgs& args = planned.attend;
    args.layout = kv_.layout();
    args.layer = step.layer;
    args.n_heads = plan_.spec.n_heads;
    args.scale = plan_.spec.attention_scale;
    args.query = buffers_.query.as<float>(), args.out = buffers_.attention.as<float>();
    args.partial = buffers_.partial.as<float>(), args.arrived = buffers_.arrived.as<unsigned>();
  } else {
    planned.multiply = plan_multiply(step);
  }
  return planned;
}

void CudaExecutor::plan_steps() {
  for (const Step& step : plan_.steps) {
    if (step.kind == StepKind::kHead) {
      head_ = plan_multiply(step);
    } else {
      body_.push_back(plan_step(step));
    }
  }
}

/// Tells the steps where the state of a pass lies.
void CudaExecutor::plan_state() {
  PassState state;
  state.rows = buffers_.rows.as<PassRow>();
  state.logit_rows = reinterpret_cast<std::int32_t*>(state.rows + options_.batch_rows);
  state.pages = page_table_.as<std::byte*>();
  state.rope = buffers_.rope.as<float2>();
  for (PlannedStep& step : body_) step.embed.state = step.multiply.kv.state = step.attend.state = state;
  head_.kv.state = state;
  graphs_.clear();
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
  plan_state();
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
  std::vector<std::int32_t> first_pages;
  first_pages.reserve(batch.page_tables.size());
  for (const std::span<const PageId> table : batch.page_tables) {
    first_pages.push_back(static_cast<std::int32_t>(n_pages));
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
    rows[n_rows] = {row.token, row.position, first_pages[static_cast<std::size_t>(row.sequence)]};
    if (row.want == Want::kLogits) *logit_rows++ = n_rows;
    ++n_rows;
  }
  const auto bytes = static_cast<std::size_t>(reinterpret_cast<std::byte*>(logit_rows) - host_rows_.as());
  INLAY_TRY(check(cudaMemcpyAsync(buffers_.rows.as(), host_rows_.as(), bytes, cudaMemcpyHostToDevice, stream_.get()),
                  "CUDA upload"));
  if (!changed) return {};
  n_uploaded_pages_ = n_pages;
  return check(cudaMemcpyAsync(page_table_.as(), pages, n_pages * sizeof(std::byte*), cudaMemcpyHostToDevice,
                               stream_.get()),
               "CUDA upload");
}

cudaError_t CudaExecutor::launch_body(int n_rows) {
  const int n_splits = choose_splits(kv_.layout(), plan_.spec.n_heads, n_rows, n_processors_);
  for (PlannedStep& step : body_) {
    cudaError_t error = cudaSuccess;
    if (step.kind == StepKind::kEmbed) {
      step.embed.n_rows = n_rows;
      error = embed(step.embed, stream_.get());
    } else if (step.kind == StepKind::kAttend) {
      step.attend.n_rows = n_rows;
      step.attend.n_splits = n_splits;
      error = attend(step.attend, stream_.get());
    } else {
      step.multiply.n_rows = n_rows;
      error = multiply(step.multiply, stream_.get());
    }
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

/// Logits of the rows [first, first + n) of those that want them.
cudaError_t CudaExecutor::launch_head(int first, int n) {
  head_.n_rows = n;
  head_.row_map = head_.kv.state.logit_rows + first;
  return multiply(head_, stream_.get());
}

Result<void> CudaExecutor::run_body(int n_rows) {
  if (n_rows > kMostGraphRows) return check(launch_body(n_rows), "CUDA kernels");
  auto found = graphs_.find(n_rows);
  if (found == graphs_.end()) {
    Graph graph;
    INLAY_TRY(graph.capture(stream_.get(), [&] { return launch_body(n_rows); }));
    found = graphs_.emplace(n_rows, std::move(graph)).first;
  }
  return found->second.launch(stream_.get());
}

Result<void> CudaExecutor::run_head(int n_logits, const StepOutput& output) {
  const std::size_t row_bytes = count(plan_.spec.vocab_size) * sizeof(float);
  for (int first = 0; first < n_logits; first += kLogitRows) {
    const int n = std::min(kLogitRows, n_logits - first);
    INLAY_TRY(check(launch_head(first, n), "CUDA kernels"));
    INLAY_TRY(check(cudaMemcpyAsync(host_logits_.as(), buffers_.logits.as(), count(n) * row_bytes,
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
