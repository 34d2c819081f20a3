#include "quantize/parallel.hpp"

#include <exception>
#include <vector>

#include "base/thread.hpp"

namespace inlay {

void run_parts(const ParallelFor& host, std::int32_t n_parts, const std::function<void(std::int32_t)>& body) {
  if (host) return host(n_parts, body);
  std::vector<Thread> threads;  // its end waits for theirs
  threads.reserve(static_cast<std::size_t>(n_parts));
  std::int32_t next = 1;
  try {
    for (; next < n_parts; ++next) threads.emplace_back([&body, part = next] { body(part); });
  } catch (const std::exception&) {  // no more threads to be had, or no memory for one
  }
  body(0);
  for (; next < n_parts; ++next) body(next);
}

}  // namespace inlay
