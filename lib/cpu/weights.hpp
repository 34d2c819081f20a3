// A plan's matrices as the kernels read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <inlay/result.hpp>

#include "base/page_memory.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/thread_pool.hpp"
#include "model/plan.hpp"
#include "runtime/backend.hpp"

namespace inlay::cpu {

/// y = W x with W [n_rows, n_cols].
struct WeightMatrix {
  Format format = Format::kF32;
  int n_rows = 0;
  int n_cols = 0;
  const std::byte* rows = nullptr;  // in the file
  std::size_t row_bytes = 0;
  const std::byte* panels = nullptr;  // packed (cpu/panel.hpp); null: the kernels read `rows`
  std::size_t panel_bytes = 0;        // from one panel to the next
};

class Weights {
 public:
  /// Packs every matrix that a step multiplies with, on all threads of the pool, and lets go of the file's pages behind
  /// it where options.may_release_file. With WeightLayout::kAsInFile, or where the kernels want no panels, the matrices
  /// stay in the file, and its pages are read in. kOutOfMemory, kCancelled (by options.progress).
  static Result<Weights> load(const Plan& plan, const KernelTable& kernels, const ExecutorOptions& options,
                              ThreadPool& pool);

  [[nodiscard]] const WeightMatrix& matrix(MatrixId id) const { return matrices_[static_cast<std::size_t>(id)]; }

  /// Memory that `load` takes for panels.
  static std::uint64_t packed_bytes(const Plan& plan);
  /// Of the matrices that steps read a row at a time: they stay in the file.
  static std::uint64_t file_bytes(const Plan& plan);
  /// Of the largest panel: the scratch memory of a thread when the matrices stay in the file.
  static std::size_t largest_panel(const Plan& plan);

 private:
  std::vector<WeightMatrix> matrices_;  // by MatrixId
  PageMemory panels_;
};

}  // namespace inlay::cpu
