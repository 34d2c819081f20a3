// Runs one function on several threads at once, with a static split: the same part always runs on the same thread.
#pragma once

#include <functional>
#include <memory>

#include <inlay/types.hpp>

namespace inlay::cpu {

/// A reference to a callable: no allocation, the callable must outlive the call.
class PartFunction {
 public:
  template <class F>
  PartFunction(const F& function)  // NOLINT(google-explicit-constructor)
      : object_(&function), call_([](const void* object, int part) { (*static_cast<const F*>(object))(part); }) {}
  void operator()(int part) const { call_(object_, part); }

 private:
  const void* object_;
  void (*call_)(const void*, int);
};

/// `size()` parts; the calling thread runs part 0. Workers spin for a bounded time after a run, then sleep: an idle
/// pool uses no CPU. `run` is called by one thread at a time.
class ThreadPool {
 public:
  /// Starts n_threads - 1 workers, n_threads >= 1. Throws std::system_error when the system has no more threads.
  explicit ThreadPool(int n_threads);
  /// Uses the host's threads: `run` calls parallel_for(n_parts, ...).
  ThreadPool(ParallelFor parallel_for, int n_parts);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int size() const noexcept;
  /// Calls body(part) for every 0 <= part < size() and returns when all have ended. `body` must not throw.
  void run(PartFunction body);

 private:
  class Workers;
  std::unique_ptr<Workers> workers_;  // null for one thread or the host's threads
  ParallelFor parallel_for_;
  int size_ = 1;
};

/// The part's share of n items in units of `unit`: [begin, end). Shares differ by at most one unit.
struct Range {
  int begin = 0;
  int end = 0;
};
constexpr Range split(int n, int unit, int part, int n_parts) {
  const long long units = (n + unit - 1) / unit;
  const auto begin = static_cast<int>(units * part / n_parts * unit);
  const auto end = static_cast<int>(units * (part + 1) / n_parts * unit);
  return {begin < n ? begin : n, end < n ? end : n};
}

}  // namespace inlay::cpu
