// The backends that this build has.
#pragma once

#include <span>

#include "runtime/backend.hpp"

namespace inlay {

/// The CPU first.
std::span<const Backend* const> backends();

/// Null when this build has none of that kind.
const Backend* find_backend(DeviceKind kind);

}  // namespace inlay
