// Counts what the program takes through operator new, which this test program replaces.
#pragma once

#include <cstdint>

namespace inlay::test {

/// Whether allocations are counted: a sanitizer replaces the allocator itself.
#if defined(INLAY_TEST_SANITIZED)
inline constexpr bool kCountsAllocations = false;
#else
inline constexpr bool kCountsAllocations = true;
#endif

/// Allocations since the program began, on any thread; 0 where they are not counted.
std::int64_t allocation_count();

}  // namespace inlay::test
