#include "cpu/thread_pool.hpp"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/system.hpp"
#include "base/thread.hpp"

namespace inlay::cpu {
namespace {

// A run of a decode step follows the last one within some microseconds: waking a sleeping thread would cost as much as
// the work. Half of the spinning gives the core to whoever else wants it.
constexpr std::chrono::microseconds kSpinPause{20};
constexpr std::chrono::microseconds kSpinTotal{60};
constexpr int kPausesPerLook = 16;

void pause_briefly() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Waits until `done()`, for a bounded time. `crowded`: there are more threads than cores, so yield at once.
template <class Done>
bool spin_until(const Done& done, bool crowded) {
  if (done()) return true;
  const auto start = std::chrono::steady_clock::now();
  bool yielding = crowded;
  while (true) {
    if (yielding) {
      std::this_thread::yield();
      if (done()) return true;
    } else {
      for (int i = 0; i < kPausesPerLook; ++i) {
        pause_briefly();
        if (done()) return true;
      }
    }
    const auto spent = std::chrono::steady_clock::now() - start;
    if (spent > kSpinTotal) return false;
    if (spent > kSpinPause) yielding = true;
  }
}

}  // namespace

class ThreadPool::Workers {
 public:
  Workers() = default;
  ~Workers() { stop(); }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  void start(int n_workers) {
    crowded_ = n_workers + 1 > available_cores();
    threads_.reserve(static_cast<std::size_t>(n_workers));
    for (int part = 1; part <= n_workers; ++part) threads_.emplace_back([this, part] { work(part); });
  }

  void run(PartFunction body) {
    body_ = body;
    working_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
    next_round();
    body(0);
    wait_for_workers();
  }

 private:
  // Sleeping, on either side: the sleeper announces itself (workers_asleep_ or caller_asleep_), then looks once more
  // under the mutex; the waker changes the state, then looks for sleepers. All four are sequentially consistent, so one
  // of them sees the other. The waker passes through the mutex, so the sleeper is either before its look or in `wait`.

  void next_round() {
    round_.fetch_add(1);
    if (workers_asleep_.load() == 0) return;
    { const std::lock_guard lock(mutex_); }
    round_changed_.notify_all();
  }

  void wait_for_workers() {
    const auto done = [this] { return working_.load() == 0; };
    if (spin_until(done, crowded_)) return;
    std::unique_lock lock(mutex_);
    caller_asleep_.store(true);
    work_done_.wait(lock, done);
    caller_asleep_.store(false);
  }

  void end_part() {
    if (working_.fetch_sub(1) != 1 || !caller_asleep_.load()) return;
    { const std::lock_guard lock(mutex_); }
    work_done_.notify_one();
  }

  void wait_for_round(std::uint32_t last) {
    const auto changed = [this, last] { return round_.load() != last; };
    if (spin_until(changed, crowded_)) return;
    std::unique_lock lock(mutex_);
    workers_asleep_.fetch_add(1);
    round_changed_.wait(lock, changed);
    workers_asleep_.fetch_sub(1);
  }

  void work(int part) {
    for (std::uint32_t round = 0;; ++round) {
      wait_for_round(round);
      if (!body_.has_value()) return;
      (*body_)(part);
      end_part();
    }
  }

  void stop() {
    body_.reset();
    next_round();
    threads_.clear();
  }

  // The caller writes body_ and working_ before round_; the workers read them after it.
  std::optional<PartFunction> body_;  // none: the workers end
  bool crowded_ = false;
  alignas(64) std::atomic<std::uint32_t> round_ = 0;
  alignas(64) std::atomic<int> working_ = 0;  // parts that have not ended
  alignas(64) std::atomic<int> workers_asleep_ = 0;
  std::atomic<bool> caller_asleep_ = false;
  std::mutex mutex_;
  std::condition_variable round_changed_;
  std::condition_variable work_done_;
  std::vector<Thread> threads_;
};

ThreadPool::ThreadPool(int n_threads) : size_(n_threads < 1 ? 1 : n_threads) {
  if (size_ == 1) return;
  workers_ = std::make_unique<Workers>();
  workers_->start(size_ - 1);
}

ThreadPool::ThreadPool(ParallelFor parallel_for, int n_parts)
    : parallel_for_(std::move(parallel_for)), size_(n_parts < 1 || parallel_for_ == nullptr ? 1 : n_parts) {}

ThreadPool::~ThreadPool() = default;

int ThreadPool::size() const noexcept { return size_; }

void ThreadPool::run(PartFunction body) {
  if (workers_ != nullptr) return workers_->run(body);
  if (parallel_for_ == nullptr) return body(0);
  parallel_for_(size_, [&body](std::int32_t part) { body(part); });
}

}  // namespace inlay::cpu
