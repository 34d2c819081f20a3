// How long the parts of a stream's work take on the device.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "base/try.hpp"
#include "cuda/device_pool.hpp"
#include "cuda/stream.hpp"

namespace inlay::cuda {

/// Times the same parts round after round, with an event ahead of the first and behind each. The stream is held until
/// a round is queued, so the parts follow each other as fast as the device can take them, and the host is not what is
/// measured. Events keep kernels apart: none overlaps with the next one (dependent.cuh).
class PassTimer {
 public:
  PassTimer(int n_parts, cudaStream_t stream);
  /// Returns when the stream has done what was queued.
  ~PassTimer();
  PassTimer(const PassTimer&) = delete;
  PassTimer& operator=(const PassTimer&) = delete;

  /// Once, first. kOutOfMemory, kDeviceError.
  Result<void> create();

  /// One round: `launch(part)`, which returns a Result<void>, queues the parts 0, 1 ... in turn. Returns when they are
  /// done. After a failure there is nothing more to be done with the timer.
  template <class Launch>
  Result<void> run(const Launch& launch) {
    INLAY_TRY(begin());
    for (int part = 0; part < n_parts(); ++part) {
      INLAY_TRY(launch(part));
      INLAY_TRY(mark(part + 1));
    }
    return finish();
  }

  /// Median of the rounds, of which there was at least one.
  [[nodiscard]] double median_us(int part) const;

 private:
  [[nodiscard]] int n_parts() const { return static_cast<int>(samples_us_.size()); }
  [[nodiscard]] Result<void> mark(int index) const { return marks_[static_cast<std::size_t>(index)].record(stream_); }
  void release();
  Result<void> begin();
  Result<void> finish();

  cudaStream_t stream_;
  Memory released_;                              // page-locked: 1 when the stream may go on
  std::vector<Event> marks_;                     // [n_parts + 1]
  std::vector<std::vector<double>> samples_us_;  // [n_parts][rounds]
};

}  // namespace inlay::cuda
