// Splits a piece of work over threads for the time of one call.
#pragma once

#include <cstdint>
#include <functional>

#include <inlay/types.hpp>

namespace inlay {

/// Runs body(part) for 0 <= part < n_parts and returns when all have ended: on the host's threads if it gave some, else
/// on the caller's and n_parts - 1 of its own. With fewer threads than parts, when the system has no more, the caller
/// runs the rest. `body` must not throw.
void run_parts(const ParallelFor& host, std::int32_t n_parts, const std::function<void(std::int32_t)>& body);

}  // namespace inlay
