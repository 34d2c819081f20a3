#include <inlay/result.hpp>
#include <inlay/version.hpp>

namespace inlay {

const char* to_string(StatusCode code) noexcept {
  switch (code) {
    case StatusCode::kOk:
      return "ok";
    case StatusCode::kInvalidArgument:
      return "invalid argument";
    case StatusCode::kNotFound:
      return "not found";
    case StatusCode::kIoError:
      return "I/O error";
    case StatusCode::kInvalidModel:
      return "invalid model";
    case StatusCode::kUnsupported:
      return "unsupported";
    case StatusCode::kOutOfMemory:
      return "out of memory";
    case StatusCode::kContextFull:
      return "context full";
    case StatusCode::kCancelled:
      return "cancelled";
    case StatusCode::kDeviceError:
      return "device error";
    case StatusCode::kInternal:
      return "internal error";
    case StatusCode::kBufferTooSmall:
      return "buffer too small";
    case StatusCode::kInvalidState:
      return "invalid state";
  }
  return "unknown status";
}

#define INLAY_STRING_INNER(x) #x
#define INLAY_STRING(x) INLAY_STRING_INNER(x)

const char* version_string() noexcept {
  return INLAY_STRING(INLAY_VERSION_MAJOR) "." INLAY_STRING(INLAY_VERSION_MINOR) "." INLAY_STRING(INLAY_VERSION_PATCH);
}

}  // namespace inlay
