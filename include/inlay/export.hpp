// Marks the symbols that a shared libinlay exports. Everything else is hidden.
#pragma once

#if defined(INLAY_BUILD_SHARED) && defined(__GNUC__)
#define INLAY_API __attribute__((visibility("default")))
#else
#define INLAY_API
#endif

// Keeps a class inside an exported one from being exported with it.
#if defined(__GNUC__)
#define INLAY_LOCAL __attribute__((visibility("hidden")))
#else
#define INLAY_LOCAL
#endif
