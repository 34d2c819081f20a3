#include "base/thread.hpp"

#include <csignal>
#include <system_error>
#include <utility>

namespace inlay {
namespace {

/// Threads started meanwhile take no signals but those of their own faults.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGPROF}) sigdelset(&blocked, fault);
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_ = {};
};

void* run(void* body) {
  (*static_cast<std::function<void()>*>(body))();
  return nullptr;
}

}  // namespace

Thread::Thread(std::function<void()> body) : body_(std::make_unique<std::function<void()>>(std::move(body))) {
  const SignalsBlocked blocked;
  const int failure = pthread_create(&handle_, nullptr, run, body_.get());
  if (failure != 0) throw std::system_error(failure, std::generic_category(), "thread");
}

Thread::~Thread() {
  if (body_ != nullptr) pthread_join(handle_, nullptr);
}

}  // namespace inlay
