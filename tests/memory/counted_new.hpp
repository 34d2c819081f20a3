// Counts what the program takes through operator new, which this test program replaces.
#pragma once

#include <cstdint>

namespace inlay::test {

/// Allocations since the program began, on any thread.
std::int64_t allocation_count();

}  // namespace inlay::test
