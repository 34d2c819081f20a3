#include "base/thread.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <thread>
#include <vector>

namespace {

using inlay::Thread;

TEST_CASE("the end of a thread's handle waits for its function, also after a move") {
  int done = 0;
  {
    std::vector<Thread> threads;
    threads.emplace_back([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      done = 1;
    });
    Thread moved = std::move(threads.front());
  }
  CHECK(done == 1);
}

TEST_CASE("a thread takes none of the host's signals, and its starter's are as before") {
  sigset_t inside;
  sigset_t before;
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  {
    const Thread thread([&] { pthread_sigmask(SIG_SETMASK, nullptr, &inside); });
  }
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGALRM, SIGUSR1}) {
    CHECK(sigismember(&inside, signal) == 1);
    CHECK(sigismember(&before, signal) == sigismember(&after, signal));
  }
  CHECK(sigismember(&inside, SIGSEGV) == 0);
}

}  // namespace
