// Keeps a stream busy while the host queues work behind it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace inlay::cuda {

/// What is queued behind it waits until *released is not 0, and no longer than `longest_ns`: a host that is held up, or
/// that waits for the stream, does not hang. `released`: page-locked, stays until the stream has come past.
/// Asynchronous.
cudaError_t hold(const volatile std::int32_t* released, std::uint64_t longest_ns, cudaStream_t stream);

}  // namespace inlay::cuda
