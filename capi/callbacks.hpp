// Callbacks of C with their user data, as the C++ API wants them.
#pragma once

#include <inlay.h>

#include <cstdint>
#include <functional>

#include <inlay/types.hpp>

namespace inlay::capi {

inline ParallelFor convert_parallel_for(inlay_parallel_for_fn function, void* user_data) {
  if (function == nullptr) return {};
  return [function, user_data](std::int32_t count, const std::function<void(std::int32_t)>& body) {
    const auto task = [](void* data, std::int32_t index) {
      (*static_cast<const std::function<void(std::int32_t)>*>(data))(index);
    };
    function(user_data, count, task, const_cast<std::function<void(std::int32_t)>*>(&body));
  };
}

inline ProgressCallback convert_progress(inlay_progress_fn function, void* user_data) {
  if (function == nullptr) return {};
  return [function, user_data](float fraction) { return static_cast<Flow>(function(user_data, fraction)); };
}

}  // namespace inlay::capi
