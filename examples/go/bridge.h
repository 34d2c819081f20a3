// What cannot be said in Go: a callback with a `const` parameter, and a struct that points at it.
#pragma once

#include <inlay.h>
#include <stdint.h>

// inlay_session_generate with a callback that calls goOnToken(handle, ...).
inlay_status bridge_generate(inlay_session* session, int32_t max_tokens, uintptr_t handle, inlay_finish_reason* reason,
                             inlay_error** error);
