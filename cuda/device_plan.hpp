// A plan on the device: weights, work buffers, and the kernels of a pass in order.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <vector>

#include <inlay/result.hpp>

#include "cuda/device_pool.hpp"
#include "cuda/multiply.hpp"
#include "cuda/pass_state.hpp"
#include "cuda/relay.hpp"
#include "cuda/step_attend.hpp"
#include "cuda/step_embed.hpp"
#include "cuda/step_quantise.hpp"
#include "cuda/step_sample.hpp"
#include "cuda/weights.hpp"
#include "model/plan.hpp"
#include "runtime/backend.hpp"

namespace inlay::cuda {

/// What a pass works on, in device memory.
struct Buffers {
  Memory x;          // [batch_rows, E]
  Memory query;      // [batch_rows, Q]
  Memory attention;  // [batch_rows, Q]
  Memory hidden;     // [batch_rows, F]
  // The same but the queries as integers, in the layout of QuantisedRows: words, then sums.
  Memory quantised_x;
  Memory quantised_attention;
  Memory quantised_hidden;
  Memory logits;       // [kLogitRows, V]
  Memory best;         // [kLogitRows] MultiplyChoice::best of the head, zeros between passes
  Memory partial;      // [kMostPartialRows * kMostSplits, n_heads, floats_of_range]
  Memory arrived;      // [kMostPartialRows, n_heads], zeros; of the head the first one, too
  Memory extremes;     // [kLogitRows, slices_of(V)], with the next two those of SampleArgs
  Memory bins;         // [kLogitRows, kSampleBins]
  Memory keys;         // [kLogitRows, V]
  Memory upload;       // PassUpload
  Memory rope;         // [batch_rows, n_pairs] cosine and sine
  Memory frequencies;  // [n_pairs]

  /// Of the current device.
  static Result<Buffers> create(const Plan& plan, int batch_rows);
  static std::uint64_t bytes(const Plan& plan, int batch_rows);
};

/// Launches on the current device. Not thread-safe.
class DevicePlan {
 public:
  /// kOutOfMemory, kDeviceError, kCancelled; kUnsupported for sizes that the kernels do not take.
  static Result<DevicePlan> create(const Plan& plan, const ExecutorOptions& options, const KvLayout& layout,
                                   cudaStream_t stream);

  /// Device memory besides weights.
  static std::uint64_t work_bytes(const Plan& plan, int batch_rows, const KvLayout& layout);

  /// Tells the kernels where the state of a pass lies; before the first launch.
  void set_state(const PassState& state);

  [[nodiscard]] int n_steps() const { return static_cast<int>(plain_.steps.size()); }
  [[nodiscard]] StepKind kind(int step) const { return plain_.steps[static_cast<std::size_t>(step)].kind; }
  /// Bytes of the matrices that the step, or the head (-1), multiplies with.
  [[nodiscard]] std::uint64_t weight_bytes(int step) const;
  /// Bytes of matrices and KV cache that one row at the position reads in the step, or in the head (-1).
  [[nodiscard]] std::uint64_t read_bytes(int step, int position) const;

  /// Step 0 <= step < n_steps(), all but the head, for n_rows rows.
  cudaError_t launch(int step, int n_rows, cudaStream_t stream);
  /// Whether there is a way for passes of one row in which steps hand over word by word, through a set of places
  /// (relay.hpp).
  [[nodiscard]] bool can_relay() const { return !relay_.is_empty(); }
  /// All steps but the head. `set`: the places of a pass of one row, or kNoSet. Passes take the sets in turn, whatever
  /// passes of other kinds run between them, and nothing of one may start before all of the one before has ended.
  cudaError_t launch_body(int n_rows, int set, cudaStream_t stream);
  /// Logits of the rows [first, first + n) of those that want them, n <= kLogitRows, of the body with that set.
  /// `is_joined`: right behind it. Otherwise it waits for what was launched before. `chooses`: gives the rows the
  /// tokens of the highest ones instead.
  cudaError_t launch_head(int first, int n, int set, bool is_joined, bool chooses, cudaStream_t stream);

  /// The tokens of the first n rows of logits, as PassState::choices says.
  cudaError_t launch_sample(int n, cudaStream_t stream);

  /// For tuning: how a multiplying step, or the head (-1), is cut (multiply.hpp). False for what it does not allow.
  bool set_shape(int step, int warps_of_group, int n_groups, int panels_of_group);

  [[nodiscard]] const Buffers& buffers() const { return buffers_; }

 private:
  /// One of the three is meant, as the kind says.
  struct PlannedStep {
    StepKind kind = StepKind::kEmbed;
    EmbedArgs embed;
    MultiplyArgs multiply;
    AttendArgs attend;
    QuantisedRows attention;  // kAttend: quantised by a kernel of its own
  };

  struct PlannedPass {
    std::vector<PlannedStep> steps;
    MultiplyArgs head;
  };

  static MultiplyArgs& product(PlannedPass& pass, int step);
  [[nodiscard]] PlannedPass& pass_of(int set);
  Result<void> plan_relay(const Plan& plan, cudaStream_t stream);
  [[nodiscard]] PlannedPass relayed(int set) const;
  static cudaError_t launch_step(PlannedStep& step, int n_rows, int head_size, cudaStream_t stream);
  PlannedStep plan_step(const Plan& plan, std::size_t step) const;
  [[nodiscard]] MultiplyArgs plan_multiply(const Plan& plan, std::size_t step) const;
  /// What a step's output becomes for the step that reads it: quantised rows in `memory`, if it multiplies them with a
  /// quantised matrix, and the weights of its norm.
  struct Handover {
    QuantisedRows rows;
    const float* norm = nullptr;
  };
  [[nodiscard]] Handover hand_over(const Plan& plan, const Step* reader, const Memory& memory, int n_cols) const;

  int batch_rows_ = 0;
  KvLayout layout_;
  int n_heads_ = 0;
  MultiplyLimits limits_;
  Weights weights_;
  Buffers buffers_;
  Relay relay_;
  PlannedPass plain_;
  std::array<PlannedPass, kRelaySets> relayed_;                   // if it can
  std::array<Format, 2> formats_ = {Format::kF32, Format::kF32};  // MultiplyArgs::formats
  MultiplyChoice choice_;
  SampleArgs sample_;
};

}  // namespace inlay::cuda
