#include "runtime/registry.hpp"

#include <array>

#include <inlay/device.hpp>

namespace inlay {

// Each backend defines its own accessor; naming them here, and not including their headers, keeps the runtime free of
// them.
namespace cpu {
const Backend& backend();
}  // namespace cpu
#ifdef INLAY_CUDA
namespace cuda {
const Backend& backend();
}  // namespace cuda
#endif

std::span<const Backend* const> backends() {
  static const std::array kBackends = {
      &cpu::backend(),
#ifdef INLAY_CUDA
      &cuda::backend(),
#endif
  };
  return kBackends;
}

const Backend* find_backend(DeviceKind kind) {
  for (const Backend* backend : backends()) {
    if (backend->kind() == kind) return backend;
  }
  return nullptr;
}

std::vector<DeviceInfo> devices() {
  std::vector<DeviceInfo> all;
  for (const Backend* backend : backends()) {
    for (DeviceInfo& device : backend->devices()) all.push_back(std::move(device));
  }
  return all;
}

}  // namespace inlay
