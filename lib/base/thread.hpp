// A thread of the library's own.
#pragma once

#include <pthread.h>

#include <functional>
#include <memory>

namespace inlay {

/// Runs a function; the destructor waits for its end. It takes no signals: those are the host's, and its threads have
/// its handlers' expectations. Not std::thread, whose destructor ends the process where a thread has not been joined,
/// which may happen when the start of a later one throws.
class Thread {
 public:
  /// `body` must not throw. Throws std::system_error when the system has no more threads, std::bad_alloc.
  explicit Thread(std::function<void()> body);
  ~Thread();
  Thread(Thread&&) noexcept = default;
  Thread& operator=(Thread&&) = delete;
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

 private:
  std::unique_ptr<std::function<void()>> body_;  // null: moved from
  pthread_t handle_ = {};
};

}  // namespace inlay
