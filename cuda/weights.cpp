#include "cuda/weights.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/mapped_file.hpp"
#include "base/try.hpp"
#include "cuda/cuda_status.hpp"
#include "cuda/repack.hpp"

namespace inlay::cuda {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kStagingBytes = std::size_t{16} << 20U;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::size_t matrix_bytes(const Matrix& matrix) {
  return aligned(records_bytes(matrix.format, matrix.rows, matrix.cols));
}
std::size_t vector_bytes(const Vector& vector) { return aligned(vector.values.size() * sizeof(float)); }

/// Whose rows stand in the order of rotations: by MatrixId, by VectorId.
struct Rotated {
  std::vector<bool> matrices;
  std::vector<bool> vectors;
};

Rotated rotated_tensors(const Plan& plan) {
  Rotated rotated{std::vector<bool>(plan.tensors.matrices().size()), std::vector<bool>(plan.tensors.vectors().size())};
  if (plan.spec.rope.kind != RopeKind::kNeox) return rotated;
  for (const Step& step : plan.steps) {
    if (step.kind != StepKind::kQkv) continue;
    for (const MatrixId id : {step.matrix, step.second}) rotated.matrices[static_cast<std::size_t>(id)] = true;
    for (const VectorId id : {step.bias, step.second_bias}) {
      if (id != kNoTensor) rotated.vectors[static_cast<std::size_t>(id)] = true;
    }
  }
  return rotated;
}

/// The row of the file that stands at `row`: of a rotated head, pairs (i, i + n_pairs) become neighbours.
class RowOrder {
 public:
  RowOrder(const ModelSpec& spec, bool rotated)
      : head_size_(spec.head_size), n_pairs_(rotated ? spec.rope.n_pairs : 0) {}
  [[nodiscard]] bool is_plain() const { return n_pairs_ == 0; }
  [[nodiscard]] int operator()(int row) const {
    const int col = row % head_size_;
    if (col >= 2 * n_pairs_) return row;
    return row - col + col / 2 + (col % 2 == 0 ? 0 : n_pairs_);
  }

 private:
  int head_size_;
  int n_pairs_;
};

/// Two page-locked buffers and their counterparts on the device: one is filled while the other is on its way.
class Uploader {
 public:
  static Result<Uploader> create(std::size_t bytes, cudaStream_t stream) {
    Uploader uploader;
    uploader.stream_ = stream;
    for (Stage& stage : uploader.stages_) {
      INLAY_TRY_ASSIGN(stage.host, DevicePool::take(bytes, MemoryKind::kPinnedHost, "upload of the weights"));
      INLAY_TRY_ASSIGN(stage.device, DevicePool::take(bytes, MemoryKind::kDevice, "upload of the weights"));
      INLAY_TRY(check(cudaEventCreateWithFlags(&stage.done, cudaEventDisableTiming), "upload of the weights"));
    }
    return uploader;
  }
  Uploader(Uploader&& other) noexcept : stages_(std::move(other.stages_)), stream_(other.stream_), next_(other.next_) {
    for (Stage& stage : other.stages_) stage.done = nullptr;
  }
  Uploader& operator=(Uploader&&) = delete;
  ~Uploader() {
    if (stream_ != nullptr) cudaStreamSynchronize(stream_);
    for (Stage& stage : stages_) {
      if (stage.done != nullptr) cudaEventDestroy(stage.done);
    }
  }

  /// Copies n bytes that `fill(host memory)` writes, and calls `use(device memory)`, which launches what reads them.
  template <class Fill, class Use>
  Result<void> upload(std::size_t n, const Fill& fill, const Use& use) {
    Stage& stage = stages_[next_];
    next_ = 1 - next_;
    INLAY_TRY(check(cudaEventSynchronize(stage.done), "upload of the weights"));
    fill(stage.host.as());
    INLAY_TRY(check(cudaMemcpyAsync(stage.device.as(), stage.host.as(), n, cudaMemcpyHostToDevice, stream_),
                    "upload of the weights"));
    INLAY_TRY(check(use(stage.device.as()), "upload of the weights"));
    return check(cudaEventRecord(stage.done, stream_), "upload of the weights");
  }

 private:
  struct Stage {
    Memory host;
    Memory device;
    cudaEvent_t done = nullptr;
  };
  Uploader() = default;
  std::array<Stage, 2> stages_;
  cudaStream_t stream_ = nullptr;
  std::size_t next_ = 0;
};

void copy_rows(const Matrix& matrix, const RowOrder& order, int first, int n, std::byte* to) {
  const std::size_t bytes = matrix.row_bytes();
  if (order.is_plain()) {
    std::memcpy(to, matrix.data + static_cast<std::size_t>(first) * bytes, static_cast<std::size_t>(n) * bytes);
    return;
  }
  for (int i = 0; i < n; ++i) {
    std::memcpy(to + static_cast<std::size_t>(i) * bytes,
                matrix.data + static_cast<std::size_t>(order(first + i)) * bytes, bytes);
  }
}

/// Rows that fit into a stage, whole panels.
int rows_at_once(const Matrix& matrix) {
  const std::size_t panels = kStagingBytes / (matrix.row_bytes() * kPanelRows);
  return static_cast<int>(std::max<std::size_t>(panels, 1)) * kPanelRows;
}

std::size_t staging_bytes(const Plan& plan) {
  std::size_t bytes = kStagingBytes;
  for (const Matrix& matrix : plan.tensors.matrices()) bytes = std::max(bytes, matrix.row_bytes() * kPanelRows);
  return bytes;
}

Result<void> upload_matrix(Uploader& uploader, const Matrix& matrix, const RowOrder& order, const DeviceMatrix& to,
                           cudaStream_t stream) {
  const int step = rows_at_once(matrix);
  const std::size_t panel_bytes = record_info(matrix.format).bytes * static_cast<std::size_t>(to.n_records);
  for (int row = 0; row < matrix.rows; row += step) {
    const int n = std::min(step, matrix.rows - row);
    std::byte* panels = const_cast<std::byte*>(to.records) + static_cast<std::size_t>(row / kPanelRows) * panel_bytes;
    INLAY_TRY(uploader.upload(
        static_cast<std::size_t>(n) * matrix.row_bytes(),
        [&](std::byte* host) { copy_rows(matrix, order, row, n, host); },
        [&](const std::byte* rows) { return repack(matrix.format, rows, n, matrix.cols, panels, stream); }));
  }
  return {};
}

Result<void> upload_vector(const Vector& vector, const RowOrder& order, float* to, cudaStream_t stream) {
  std::vector<float> values(vector.values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = vector.values[static_cast<std::size_t>(order(static_cast<int>(i)))];
  }
  // From pageable memory: the values are copied before the call returns.
  return check(cudaMemcpyAsync(to, values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice, stream),
               "upload of the weights");
}

}  // namespace

std::uint64_t Weights::device_bytes(const Plan& plan) {
  std::uint64_t bytes = 0;
  for (const Matrix& matrix : plan.tensors.matrices()) bytes += matrix_bytes(matrix);
  for (const Vector& vector : plan.tensors.vectors()) bytes += vector_bytes(vector);
  return bytes;
}

Result<Weights> Weights::load(const Plan& plan, const ExecutorOptions& options, cudaStream_t stream) {
  Weights weights;
  const std::uint64_t total = device_bytes(plan);
  INLAY_TRY_ASSIGN(weights.memory_, DevicePool::take(total, MemoryKind::kDevice, "weights"));
  INLAY_TRY_ASSIGN(Uploader uploader, Uploader::create(staging_bytes(plan), stream));
  const Rotated rotated = rotated_tensors(plan);
  std::byte* next = weights.memory_.as();
  for (std::size_t i = 0; i < plan.tensors.vectors().size(); ++i) {
    const Vector& vector = plan.tensors.vectors()[i];
    auto* to = reinterpret_cast<float*>(next);
    INLAY_TRY(upload_vector(vector, RowOrder(plan.spec, rotated.vectors[i]), to, stream));
    weights.vectors_.push_back(to);
    next += vector_bytes(vector);
  }
  for (std::size_t i = 0; i < plan.tensors.matrices().size(); ++i) {
    const Matrix& matrix = plan.tensors.matrices()[i];
    const DeviceMatrix to{next, matrix.format, matrix.rows, matrix.cols, records_of_row(matrix.format, matrix.cols)};
    INLAY_TRY(upload_matrix(uploader, matrix, RowOrder(plan.spec, rotated.matrices[i]), to, stream));
    if (options.may_release_file) release_mapped({matrix.data, matrix.bytes()});
    weights.matrices_.push_back(to);
    next += matrix_bytes(matrix);
    INLAY_TRY(
        report_progress(options.progress, static_cast<float>(next - weights.memory_.as()) / static_cast<float>(total)));
  }
  INLAY_TRY(check(cudaStreamSynchronize(stream), "upload of the weights"));
  return weights;
}

}  // namespace inlay::cuda
