// The version of the library.
#pragma once

#include <inlay/export.hpp>

/// @{
/// Of these headers. Below 1.0, the C++ API may break with the minor version.
#define INLAY_VERSION_MAJOR 0
#define INLAY_VERSION_MINOR 1
#define INLAY_VERSION_PATCH 0
/// @}

namespace inlay {

/// "major.minor.patch" of the library that is linked, which may differ from the macros above. Static storage.
INLAY_API const char* version_string() noexcept;

}  // namespace inlay
