#include "base/system.hpp"

#include <sched.h>
#include <unistd.h>

namespace inlay {

int available_cores() noexcept {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (::sched_getaffinity(0, sizeof(cores), &cores) == 0 && CPU_COUNT(&cores) > 0) return CPU_COUNT(&cores);
  const long online = ::sysconf(_SC_NPROCESSORS_ONLN);  // more than 1024 cores: the mask above is too short
  return online > 0 ? static_cast<int>(online) : 1;
}

std::uint64_t physical_memory_bytes() noexcept {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_bytes = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return 0;
  return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes);
}

}  // namespace inlay
