#include "quantize/parallel.hpp"

#include <exception>
#include <thread>
#include <vector>

namespace inlay {

void run_parts(const ParallelFor& host, std::int32_t n_parts, const std::function<void(std::int32_t)>& body) {
  if (host) return host(n_parts, body);
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(n_parts));
  std::int32_t next = 1;
  try {
    for (; next < n_parts; ++next) threads.emplace_back([&body, part = next] { body(part); });
  } catch (const std::exception&) {  // neither thread nor memory for one: the rest is done here
  }
  body(0);
  for (; next < n_parts; ++next) body(next);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace inlay
