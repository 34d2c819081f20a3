// The wall at the API: what the standard library or a host callback throws becomes a Status.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <utility>

#include <inlay/result.hpp>

namespace inlay {

/// Runs `body`, which returns a Result, and turns exceptions into one.
template <class Body>
auto guard(Body&& body) noexcept -> decltype(body()) {
  try {
    return std::forward<Body>(body)();
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, {});  // an empty message allocates nothing
  } catch (const std::exception& error) {
    try {
      return Status(StatusCode::kInternal, std::string("exception inside a call: ") + error.what());
    } catch (...) {
      return Status(StatusCode::kOutOfMemory, {});
    }
  } catch (...) {
    return Status(StatusCode::kInternal, {});
  }
}

}  // namespace inlay
