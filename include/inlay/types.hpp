// Small types that the whole API shares.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace inlay {

/// A token id: an index into the model's vocabulary, 0 <= id < vocab_size.
using TokenId = std::int32_t;

/// How keys and values of past tokens are kept.
enum class KvFormat : std::int32_t {
  kF16 = 0,   ///< IEEE halves
  kQ8_0 = 1,  ///< 8-bit integers with a half as scale for each 32 values of a head: 53% of the memory of kF16
};

/// What a callback wants next. Returning kStop from any callback ends the call that invoked it.
enum class Flow : std::int32_t { kContinue = 0, kStop = 1 };

/// Reports progress of a long call. `fraction` grows from 0 to 1. Called on the calling thread.
using ProgressCallback = std::function<Flow(float fraction)>;

/// How much a message matters.
enum class LogLevel : std::int32_t { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

/// Receives what inlay would like to say; without one it says nothing. `message` is valid during the call only.
using LogCallback = std::function<void(LogLevel level, std::string_view message)>;

/// Runs `body(i)` for every 0 <= i < count, on any threads and in any order, and returns when all have ended.
/// `body` never blocks on another index. A host that owns its threads passes one of these instead of a thread count.
using ParallelFor = std::function<void(std::int32_t count, const std::function<void(std::int32_t)>& body)>;

/// The host's memory for what is large on the CPU: packed weights, work buffers, KV pages, a file that a FileReader
/// reads. Small things (names, the vocabulary, page tables) come from operator new. Both functions or none; they may be
/// called from any thread that is inside a call, `release` also while handles are destroyed, and must not throw.
struct HostAllocator {
  /// At least `bytes` (> 0) bytes at a multiple of `alignment` (a power of two), or null, which becomes kOutOfMemory.
  /// Memory for KV pages is asked for when a session is created.
  std::function<void*(std::size_t bytes, std::size_t alignment)> allocate{};
  /// Takes back what `allocate` gave for the same `bytes` and `alignment`.
  std::function<void(void* memory, std::size_t bytes, std::size_t alignment)> release{};
};

}  // namespace inlay
