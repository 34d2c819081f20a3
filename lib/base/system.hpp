// What the operating system says about the machine.
#pragma once

#include <cstdint>

namespace inlay {

/// Cores that this process may use (its affinity mask), at least 1.
int available_cores() noexcept;

/// Physical memory of the machine in bytes; 0 when unknown.
std::uint64_t physical_memory_bytes() noexcept;

}  // namespace inlay
