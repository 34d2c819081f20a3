#include "interrupt.hpp"

#include <csignal>
#include <cstdlib>

#include "options.hpp"

namespace inlay_run {
namespace {

sigset_t watched_signals() noexcept {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGUSR1);  // wakes the thread up at the end
  return signals;
}

}  // namespace

Interrupt::Interrupt() {
  const sigset_t signals = watched_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  thread_ = std::thread([this] { wait(); });
}

Interrupt::~Interrupt() {
  done_ = true;
  pthread_kill(thread_.native_handle(), SIGUSR1);
  thread_.join();
}

void Interrupt::watch(inlay::Session* session) {
  const std::lock_guard lock(mutex_);
  session_ = session;
  if (session_ != nullptr && requested_) session_->cancel();
}

void Interrupt::wait() {
  const sigset_t signals = watched_signals();
  while (!done_) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0 || signal != SIGINT) continue;
    if (requested_.exchange(true)) std::_Exit(kExitInterrupted);
    const std::lock_guard lock(mutex_);
    if (session_ != nullptr) session_->cancel();
  }
}

}  // namespace inlay_run
