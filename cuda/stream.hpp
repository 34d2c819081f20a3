// Owners of CUDA handles.
#pragma once

#include <cuda_runtime_api.h>

#include <utility>

#include "base/try.hpp"
#include "cuda/cuda_status.hpp"

namespace inlay::cuda {

/// A stream of the device that was current when it was made.
class Stream {
 public:
  Stream() noexcept = default;
  ~Stream() {
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  Result<void> create() { return check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "CUDA stream"); }
  [[nodiscard]] cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// A point in a stream's work.
class Event {
 public:
  Event() noexcept = default;
  ~Event() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  /// `flags`: cudaEventDefault for one that notes the time.
  Result<void> create(unsigned flags = cudaEventDisableTiming) {
    return check(cudaEventCreateWithFlags(&event_, flags), "CUDA event");
  }
  Result<void> record(cudaStream_t stream) const { return check(cudaEventRecord(event_, stream), "CUDA event"); }
  /// Returns when the stream's work up to the latest record is done; at once if there was none.
  [[nodiscard]] Result<void> wait() const { return check(cudaEventSynchronize(event_), "CUDA pass"); }
  /// Microseconds between two points that the stream has come past, both of which note the time.
  [[nodiscard]] Result<double> us_since(const Event& earlier) const {
    float ms = 0.0F;
    INLAY_TRY(check(cudaEventElapsedTime(&ms, earlier.event_, event_), "CUDA event"));
    return 1000.0 * static_cast<double>(ms);
  }

 private:
  cudaEvent_t event_ = nullptr;
};

/// Work of a stream, captured once and launched as often as wanted.
class Graph {
 public:
  Graph() noexcept = default;
  ~Graph() {
    if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
  }
  Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(graph_, other.graph_);
    return *this;
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Captures what `launch()` puts on the stream.
  template <class Launch>
  Result<void> capture(cudaStream_t stream, const Launch& launch) {
    INLAY_TRY(check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "CUDA graph"));
    const cudaError_t launched = launch();
    cudaGraph_t captured = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream, &captured);
    cudaError_t error = launched != cudaSuccess ? launched : ended;
    if (error == cudaSuccess) error = cudaGraphInstantiate(&graph_, captured, 0);
    if (captured != nullptr) cudaGraphDestroy(captured);
    return check(error, "CUDA graph");
  }
  [[nodiscard]] bool is_captured() const { return graph_ != nullptr; }
  Result<void> launch(cudaStream_t stream) const { return check(cudaGraphLaunch(graph_, stream), "CUDA graph"); }

 private:
  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace inlay::cuda
