#include "runtime/registry.hpp"

#include <array>

#include <inlay/device.hpp>

#include "base/guard.hpp"

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

std::vector<DeviceInfo> devices() noexcept {
  auto all = guard([]() -> Result<std::vector<DeviceInfo>> {
    std::vector<DeviceInfo> found;
    for (const Backend* backend : backends()) {
      for (DeviceInfo& device : backend->devices()) found.push_back(std::move(device));
    }
    return found;
  });
  return all.ok() ? *std::move(all) : std::vector<DeviceInfo>();
}

}  // namespace inlay
