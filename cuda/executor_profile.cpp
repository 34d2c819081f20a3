// CudaExecutor::profile.
#include "base/try.hpp"
#include "cuda/cuda_status.hpp"
#include "cuda/executor.hpp"
#include "cuda/pass_timer.hpp"

namespace inlay::cuda {
namespace {

constexpr int kRounds = 15;

PassStep pass_step_of(StepKind kind) {
  switch (kind) {
    case StepKind::kEmbed:
      return PassStep::kEmbed;
    case StepKind::kQkv:
      return PassStep::kQkv;
    case StepKind::kAttend:
      return PassStep::kAttend;
    case StepKind::kProject:
      return PassStep::kProject;
    case StepKind::kFeedForward:
      return PassStep::kGateUp;
    case StepKind::kDown:
      return PassStep::kDown;
    case StepKind::kHead:
      break;
  }
  return PassStep::kHead;
}

/// Bytes a second at the memory's highest clock; 0 if the driver does not say.
double peak_bandwidth(int device) {
  int clock_khz = 0;
  int bus_bits = 0;
  if (cudaDeviceGetAttribute(&clock_khz, cudaDevAttrMemoryClockRate, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bus_bits, cudaDevAttrGlobalMemoryBusWidth, device) != cudaSuccess) {
    cudaGetLastError();
    return 0.0;
  }
  return 2.0 * 1000.0 * clock_khz * (bus_bits / 8.0);  // two transfers a clock
}

}  // namespace

/// Queues a step of the plan for one row. The last one, the head, chooses a token.
Result<void> CudaExecutor::run_step(int step) {
  const int n_body = device_.n_steps();
  if (step < n_body) return check(device_.launch(step, 1, stream_.get()), "CUDA kernels");
  INLAY_TRY(check(device_.launch_head(0, 1, kNoSet, false, true, stream_.get()), "CUDA kernels"));
  ++n_started_;  // the choice counts as one of a pass that was started
  return {};
}

std::vector<StepProfile> CudaExecutor::describe_steps(int position) const {
  std::vector<StepProfile> steps;
  for (int i = 0; i < device_.n_steps(); ++i) {
    const Step& step = plan_.steps[static_cast<std::size_t>(i)];
    const std::int32_t layer = step.kind == StepKind::kEmbed ? -1 : step.layer;
    steps.push_back({pass_step_of(step.kind), layer, 0.0, device_.read_bytes(i, position)});
  }
  steps.push_back({PassStep::kHead, -1, 0.0, device_.read_bytes(-1, position)});
  return steps;
}

Result<PassProfile> CudaExecutor::profile(const RowBatch& batch) {
  const DeviceScope scope(options_.device_index);
  INLAY_TRY(scope.status());
  PassProfile profile{0.0, peak_bandwidth(options_.device_index), describe_steps(batch.rows.front().position)};
  PassTimer steps(static_cast<int>(profile.steps.size()), stream_.get());
  PassTimer pass(1, stream_.get());
  INLAY_TRY(steps.create());
  INLAY_TRY(pass.create());
  latest_ = 0;
  const Choice greedy;
  const auto run_pass = [&](int /*part*/) -> Result<void> {
    INLAY_TRY(run_choosing({&greedy, 1}));
    ++n_started_;
    return {};
  };
  // The first pass captures the graph and loads its kernels, which a stream that is held might wait for.
  INLAY_TRY(upload(batch, {&greedy, 1}));
  INLAY_TRY(run_pass(0));
  for (int round = 0; round < kRounds; ++round) {
    if (batch.is_cancelled()) return Status(StatusCode::kCancelled, "the session was cancelled");
    INLAY_TRY(upload(batch, {&greedy, 1}));  // the choice has put the row at the next position
    INLAY_TRY(steps.run([&](int step) { return run_step(step); }));
    INLAY_TRY(upload(batch, {&greedy, 1}));
    INLAY_TRY(pass.run(run_pass));
  }
  profile.time_us = pass.median_us(0);
  for (std::size_t i = 0; i < profile.steps.size(); ++i) {
    profile.steps[i].time_us = steps.median_us(static_cast<int>(i));
  }
  return profile;
}

}  // namespace inlay::cuda
