#include <doctest/doctest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "base/system.hpp"
#include "cpu/thread_pool.hpp"

namespace {

using inlay::cpu::ThreadPool;

/// Runs the pool `runs` times; returns how many parts did not run exactly once, on their own thread.
int count_wrong(ThreadPool& pool, int runs) {
  const auto size = static_cast<std::size_t>(pool.size());
  std::vector<int> calls(size, 0);  // a part's own element: no atomics, so that ThreadSanitizer sees a missing fence
  std::vector<std::thread::id> threads(size);
  int wrong = 0;
  for (int run = 1; run <= runs; ++run) {
    pool.run([&](int part) {
      const auto i = static_cast<std::size_t>(part);
      ++calls[i];
      if (run == 1) threads[i] = std::this_thread::get_id();
      if (threads[i] != std::this_thread::get_id()) calls[i] += 1000;
    });
    for (const int count : calls) wrong += count == run ? 0 : 1;
  }
  return wrong;
}

double seconds_of_cpu() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST_CASE("every part runs exactly once, always on the same thread") {
  int runs = 0;
  for (const int n_threads : {1, 2, 3, 4, 7, 16}) {
    ThreadPool pool(n_threads);
    CHECK(pool.size() == n_threads);
    const int n = n_threads <= 2 ? 5000 : 500;
    CHECK(count_wrong(pool, n) == 0);
    runs += n;
  }
  MESSAGE("ran ", runs, " times");
}

TEST_CASE("runs after pauses wake the workers") {
  ThreadPool pool(3);
  for (const int pause_us : {0, 10, 50, 70, 200, 3000}) {
    for (int i = 0; i < 20; ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
      REQUIRE(count_wrong(pool, 1) == 0);
    }
  }
}

TEST_CASE("a caller that ends first waits for the others") {
  ThreadPool pool(2);
  for (const int busy_us : {0, 30, 100, 2000}) {
    std::vector<int> done(2, 0);
    pool.run([&](int part) {
      if (part == 1) std::this_thread::sleep_for(std::chrono::microseconds(busy_us));
      done[static_cast<std::size_t>(part)] = 1;
    });
    CHECK(done == std::vector<int>{1, 1});
  }
}

TEST_CASE("an idle pool uses no CPU") {
  ThreadPool pool(4);
  CHECK(count_wrong(pool, 10) == 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the spinning after a run
  const double before = seconds_of_cpu();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const double used = seconds_of_cpu() - before;
  CHECK(used < 0.005);
  MESSAGE("idle for 300 ms: ", used * 1e3, " ms of CPU");
}

TEST_CASE("pools of several owners run side by side and inside one another") {
  constexpr int kOwners = 3;
  constexpr int kRuns = 50;
  std::vector<int> totals(kOwners, 0);
  std::vector<std::thread> owners;
  for (std::size_t owner = 0; owner < kOwners; ++owner) {
    owners.emplace_back([&totals, owner] {
      ThreadPool outer(2);
      for (int run = 0; run < kRuns; ++run) {
        std::vector<int> parts(2, 0);
        outer.run([&](int part) {
          ThreadPool inner(2);
          parts[static_cast<std::size_t>(part)] = count_wrong(inner, 3) == 0 ? 1 : 0;
        });
        totals[owner] += parts[0] + parts[1];
      }
    });
  }
  for (std::thread& owner : owners) owner.join();
  CHECK(totals == std::vector<int>(kOwners, 2 * kRuns));
}

TEST_CASE("more threads than cores are slower, not stuck") {
  ThreadPool pool(4 * inlay::available_cores() + 1);
  const auto start = std::chrono::steady_clock::now();
  CHECK(count_wrong(pool, 200) == 0);
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
  CHECK(spent.count() < 10.0);
  MESSAGE(pool.size(), " threads: ", spent.count() / 200 * 1e6, " us a run");
}

TEST_CASE("the host's threads run the parts when it offers them") {
  int calls = 0;
  const inlay::ParallelFor backwards = [&](std::int32_t count, const std::function<void(std::int32_t)>& body) {
    ++calls;
    for (std::int32_t i = count; i-- > 0;) body(i);
  };
  ThreadPool pool(backwards, 5);
  CHECK(pool.size() == 5);
  CHECK(count_wrong(pool, 10) == 0);
  CHECK(calls == 10);
  CHECK(ThreadPool(inlay::ParallelFor(), 5).size() == 1);
}

TEST_CASE("a pool can be made and destroyed at once") {
  for (int i = 0; i < 200; ++i) ThreadPool pool(1 + i % 4);
  CHECK(ThreadPool(0).size() == 1);
  CHECK(inlay::available_cores() >= 1);
}

TEST_CASE("split covers every item once, in whole units") {
  int checked = 0;
  for (const int n : {0, 1, 7, 64, 65, 1000, 2147483647}) {
    for (const int unit : {1, 4, 32}) {
      for (const int n_parts : {1, 2, 3, 7, 64}) {
        if (n > 2147483647 - unit) continue;
        int end = 0;
        for (int part = 0; part < n_parts; ++part, ++checked) {
          const auto range = inlay::cpu::split(n, unit, part, n_parts);
          REQUIRE(range.begin == end);
          REQUIRE(range.end >= range.begin);
          REQUIRE((range.end == n || range.end % unit == 0));
          end = range.end;
        }
        REQUIRE(end == n);
      }
    }
  }
  MESSAGE("checked ", checked, " parts");
}

}  // namespace
