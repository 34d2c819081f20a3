#include "bandwidth.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace inlay_bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPasses = 6;
constexpr std::size_t kLeastBytes = std::size_t{256} << 20;
constexpr std::size_t kMostBytes = std::size_t{2} << 30;
constexpr std::size_t kUnitWords = 64;  // 512 bytes: what the widest sum reads in a round

std::size_t wanted_bytes() {
  const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);  // 0 or -1 when unknown
  const std::size_t wanted = cache > 0 ? 4 * static_cast<std::size_t>(cache) : 0;
  return std::clamp(wanted, kLeastBytes, kMostBytes) / (kUnitWords * sizeof(std::uint64_t)) *
         (kUnitWords * sizeof(std::uint64_t));
}

using Sum = std::uint64_t (*)(std::span<const std::uint64_t> words);

// Compiler vectors: ordinary C++ arithmetic on several words at once.
using Vector16 = std::uint64_t __attribute__((vector_size(16)));
using Vector32 = std::uint64_t __attribute__((vector_size(32)));
using Vector64 = std::uint64_t __attribute__((vector_size(64)));

/// Eight sums side by side: an addition waits for one of the round before only, so memory is what bounds the loop and
/// not the latency of an addition.
template <class Vector>
[[gnu::always_inline]] inline std::uint64_t sum_vectors(std::span<const std::uint64_t> words) {
  constexpr std::size_t kSums = 8;
  constexpr std::size_t kLanes = sizeof(Vector) / sizeof(std::uint64_t);
  static_assert(kUnitWords % (kSums * kLanes) == 0);
  std::array<Vector, kSums> sums{};
  for (std::size_t i = 0; i + kSums * kLanes <= words.size(); i += kSums * kLanes) {
    const auto* vectors = reinterpret_cast<const Vector*>(words.data() + i);  // a unit is aligned to its size
#pragma GCC unroll 8
    for (std::size_t k = 0; k < kSums; ++k) sums[k] += vectors[k];
  }
  std::uint64_t total = 0;
  for (const Vector& sum : sums) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) total += sum[lane];
  }
  return total;
}

std::uint64_t sum_16(std::span<const std::uint64_t> words) { return sum_vectors<Vector16>(words); }

#if defined(__x86_64__)
[[gnu::target("avx2")]] std::uint64_t sum_32(std::span<const std::uint64_t> words) {
  return sum_vectors<Vector32>(words);
}
[[gnu::target("avx512f")]] std::uint64_t sum_64(std::span<const std::uint64_t> words) {
  return sum_vectors<Vector64>(words);
}

/// Wider loads keep more bytes in flight.
Sum widest_sum() {
  if (__builtin_cpu_supports("avx512f")) return sum_64;
  return __builtin_cpu_supports("avx2") ? sum_32 : sum_16;
}
#else
Sum widest_sum() { return sum_16; }
#endif

}  // namespace

void ReadBandwidth::Unmap::operator()(std::uint64_t* words) const noexcept { munmap(words, bytes); }

inlay::Result<ReadBandwidth> ReadBandwidth::create() {
  const std::size_t bytes = wanted_bytes();
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return inlay::Status(inlay::StatusCode::kOutOfMemory,
                         "read bandwidth: no memory for a buffer of " + std::to_string(bytes) + " bytes");
  }
  madvise(memory, bytes, MADV_HUGEPAGE);  // fewer address translations; small pages do as well
  Buffer words(static_cast<std::uint64_t*>(memory), Unmap{bytes});
  const std::size_t n_words = bytes / sizeof(std::uint64_t);
  std::fill_n(words.get(), n_words, 1);  // untouched pages would all be one page of zeros
  return ReadBandwidth(std::move(words), n_words);
}

std::span<const std::uint64_t> ReadBandwidth::part(std::int32_t index, std::int32_t count) const noexcept {
  const std::size_t units = n_words_ / kUnitWords;
  const auto n = static_cast<std::size_t>(count);
  const auto i = static_cast<std::size_t>(index);
  const std::size_t begin = units * i / n * kUnitWords;
  const std::size_t end = units * (i + 1) / n * kUnitWords;
  return {words_.get() + begin, end - begin};
}

double ReadBandwidth::measure(std::int32_t threads) const {
  const Sum sum = widest_sum();
  std::barrier edge(threads);
  std::atomic<std::uint64_t> total = 0;
  double best_seconds = 0;
  const auto run_passes = [&](std::int32_t index) {
    for (int pass = 0; pass < kPasses; ++pass) {
      edge.arrive_and_wait();
      const auto start = Clock::now();
      total += sum(part(index, threads));
      edge.arrive_and_wait();
      const std::chrono::duration<double> time = Clock::now() - start;
      if (index == 0 && (pass == 0 || time.count() < best_seconds)) best_seconds = time.count();
    }
  };
  std::vector<std::thread> others;
  for (std::int32_t i = 1; i < threads; ++i) others.emplace_back(run_passes, i);
  run_passes(0);
  for (std::thread& thread : others) thread.join();
  // Every word is 1: a sum that the compiler had left out would not be the number of words.
  const bool all_read = total.load() == static_cast<std::uint64_t>(kPasses) * n_words_;
  return all_read ? static_cast<double>(buffer_bytes()) / best_seconds : 0.0;
}

}  // namespace inlay_bench
