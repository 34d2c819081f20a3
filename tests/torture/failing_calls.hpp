// Makes one call of the program to the system fail: an allocation, a call about files, memory maps or threads.
#pragma once

#include <cstdint>

namespace inlay::test {

/// Whether malloc and pthread_create fail, too: a sanitizer has its own.
#if defined(INLAY_TEST_SANITIZED)
inline constexpr bool kFailsMalloc = false;
#else
inline constexpr bool kFailsMalloc = true;
#endif

enum class FailureMode {
  kOnce,    // that call alone
  kFromOn,  // and all later ones: the memory is used up
};

/// While it lives, the n-th call (from 1 on, counted over all kinds and threads) fails. One at a time.
class FailNth {
 public:
  FailNth(std::int64_t n, FailureMode mode);
  ~FailNth();
  FailNth(const FailNth&) = delete;
  FailNth& operator=(const FailNth&) = delete;

  /// Whether so many calls came.
  [[nodiscard]] static bool happened();
};

/// What operator new has given and not got back.
std::int64_t live_allocations();

}  // namespace inlay::test
