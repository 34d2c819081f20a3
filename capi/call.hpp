// The wall between C and C++: every fallible C function runs its body inside `call`.
#pragma once

#include <inlay.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <new>
#include <span>
#include <string>

#include <inlay/result.hpp>

namespace inlay::capi {

/// Fills *error, unless the caller does not want it or there is no memory for it, and returns the status's number.
inlay_status report(inlay_error** error, const Status& status) noexcept;

/// Runs `body`, which returns a Status; nothing that it throws gets through.
template <class Body>
inlay_status call(inlay_error** error, Body&& body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    const Status status = body();
    return status.ok() ? static_cast<inlay_status>(INLAY_OK) : report(error, status);
  } catch (const std::bad_alloc&) {
    return report(error, {StatusCode::kOutOfMemory, {}});
  } catch (...) {
    return report(error, {StatusCode::kInternal, {}});
  }
}

/// Returns early from a body with a failed Status, or the Status of a failed Result.
#define INLAY_CAPI_TRY(expression)                                                         \
  do {                                                                                     \
    if (::inlay::Status capi_status = (expression); !capi_status.ok()) return capi_status; \
  } while (false)

struct Parameter {
  const void* pointer;
  const char* name;
};

/// kInvalidArgument for the first NULL, which the message names.
Status require(std::initializer_list<Parameter> parameters);

/// Whether `out`, `capacity` and `size` are a buffer or a question for the size.
Status check_buffer(const void* out, std::size_t capacity, const std::size_t* size);

/// Whether `pointer` may stand for `size` elements: NULL only for none.
Status check_input(const void* pointer, std::size_t size, const char* name);

/// The array rule of inlay.h. The buffer has passed `check_buffer`.
template <class Element>
Status write_array(std::span<const Element> result, Element* out, std::size_t capacity, std::size_t* size) {
  *size = result.size();
  if (out == nullptr) return {};
  if (result.size() > capacity) {
    return {StatusCode::kBufferTooSmall,
            "capacity: " + std::to_string(capacity) + ", the result takes " + std::to_string(result.size())};
  }
  for (std::size_t i = 0; i < result.size(); ++i) out[i] = result[i];
  return {};
}

}  // namespace inlay::capi
