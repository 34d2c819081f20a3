// The granularity of the KV cache.
#pragma once

namespace inlay {

/// Positions that one KV page holds, in every layer. Small enough that a short session wastes little, large enough that
/// attention runs through whole pages.
inline constexpr int kKvPagePositions = 64;

/// Values along a head that share a scale in a Q8_0 cache.
inline constexpr int kKvBlock = 32;

}  // namespace inlay
