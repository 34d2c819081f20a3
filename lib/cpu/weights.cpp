#include "cpu/weights.hpp"

#include <algorithm>
#include <utility>

#include "base/mapped_file.hpp"
#include "base/try.hpp"

namespace inlay::cpu {
namespace {

std::span<const std::byte> bytes_of(const Matrix& matrix) { return {matrix.data, matrix.bytes()}; }

/// By MatrixId: whether a step multiplies with the matrix. The others are read a row at a time.
std::vector<bool> multiplied(const Plan& plan) {
  std::vector<bool> found(plan.tensors.matrices().size());
  for (const Step& step : plan.steps) {
    if (step.kind == StepKind::kEmbed) continue;
    for (const MatrixId id : {step.matrix, step.second, step.third}) {
      if (id != kNoTensor) found[static_cast<std::size_t>(id)] = true;
    }
  }
  return found;
}

/// Calls visitor(id, matrix) for each matrix that a step multiplies with.
template <class Visitor>
void for_each_multiplied(const Plan& plan, const Visitor& visitor) {
  const std::vector<bool> wanted = multiplied(plan);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i]) visitor(i, plan.tensors.matrices()[i]);
  }
}

std::uint64_t bytes_of_panels(const Matrix& matrix) { return panels_bytes(matrix.format, matrix.rows, matrix.cols); }

void pack(const Matrix& matrix, std::byte* panels, ThreadPool& pool) {
  const std::size_t bytes = panel_bytes(matrix.format, matrix.cols);
  pool.run([&](int part) {
    const Range range = split(matrix.rows, kPanelRows, part, pool.size());
    for (int row = range.begin; row < range.end; row += kPanelRows) {
      pack_panel(matrix.format, matrix.data + static_cast<std::size_t>(row) * matrix.row_bytes(), matrix.row_bytes(),
                 std::min(kPanelRows, range.end - row), matrix.cols,
                 panels + static_cast<std::size_t>(row / kPanelRows) * bytes);
    }
  });
}

/// Tells how much of `total` bytes is done.
class Progress {
 public:
  Progress(const ProgressCallback& callback, std::uint64_t total) : callback_(callback), total_(total) {}
  Result<void> advance(std::uint64_t bytes) {
    done_ += bytes;
    const float fraction = total_ == 0 ? 1.0F : static_cast<float>(done_) / static_cast<float>(total_);
    return report_progress(callback_, fraction);
  }

 private:
  const ProgressCallback& callback_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
};

}  // namespace

std::uint64_t Weights::packed_bytes(const Plan& plan) {
  std::uint64_t bytes = 0;
  for_each_multiplied(plan, [&](std::size_t, const Matrix& matrix) { bytes += bytes_of_panels(matrix); });
  return bytes;
}

std::uint64_t Weights::file_bytes(const Plan& plan) {
  std::uint64_t bytes = 0;
  for (const Step& step : plan.steps) {
    if (step.kind == StepKind::kEmbed) bytes += plan.tensors.matrix(step.matrix).bytes();
  }
  return bytes;
}

std::size_t Weights::largest_panel(const Plan& plan) {
  std::size_t bytes = 0;
  for_each_multiplied(plan, [&](std::size_t, const Matrix& matrix) {
    bytes = std::max(bytes, panel_bytes(matrix.format, matrix.cols));
  });
  return bytes;
}

Result<Weights> Weights::load(const Plan& plan, const KernelTable& kernels, const ExecutorOptions& options,
                              ThreadPool& pool) {
  Weights weights;
  std::uint64_t total = 0;
  for (const Matrix& matrix : plan.tensors.matrices()) {
    weights.matrices_.push_back({matrix.format, matrix.rows, matrix.cols, matrix.data, matrix.row_bytes(), nullptr,
                                 panel_bytes(matrix.format, matrix.cols)});
    total += matrix.bytes();
  }
  const bool packs = kernels.reads_panels && options.weight_layout == WeightLayout::kRepacked;
  if (packs) {
    INLAY_TRY_ASSIGN(weights.panels_,
                     PageMemory::take(packed_bytes(plan), "weights", PageMemory::PageSize::kHuge, options.allocator));
  }
  const std::vector<bool> wanted = multiplied(plan);
  std::byte* next = weights.panels_.data();
  Progress steps(options.progress, total);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const Matrix& matrix = plan.tensors.matrices()[i];
    if (!packs) {
      prefetch_mapped(bytes_of(matrix));
    } else if (wanted[i]) {
      pack(matrix, next, pool);
      if (options.may_release_file) release_mapped(bytes_of(matrix));
      weights.matrices_[i].panels = next;
      next += bytes_of_panels(matrix);
    }
    INLAY_TRY(steps.advance(matrix.bytes()));
  }
  return weights;
}

}  // namespace inlay::cpu
