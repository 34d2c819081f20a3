// Ctrl-C ends a generation, not the process.
#pragma once

#include <atomic>
#include <mutex>
#include <thread>

#include <inlay/session.hpp>

namespace inlay_run {

/// Waits for SIGINT on a thread of its own, because a signal handler may do next to nothing. Create it before any other
/// thread: they inherit the blocked signal. A second SIGINT ends the process at once.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  [[nodiscard]] bool requested() const noexcept { return requested_.load(); }

  /// The session to cancel from now on; null: none. It must outlive its registration.
  void watch(inlay::Session* session);

 private:
  void wait();

  std::atomic<bool> requested_ = false;
  std::atomic<bool> done_ = false;
  std::mutex mutex_;
  inlay::Session* session_ = nullptr;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace inlay_run
