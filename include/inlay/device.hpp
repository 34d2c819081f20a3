// Where a model runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <inlay/export.hpp>

namespace inlay {

/// What runs a model.
enum class DeviceKind : std::int32_t {
  kCpu = 0,
  kCuda = 1,
};

/// One device that this build of the library can use on this machine.
struct DeviceInfo {
  DeviceKind kind = DeviceKind::kCpu;  ///< what `index` counts
  std::int32_t index = 0;              ///< among the devices of its kind
  std::string name;                    ///< for instance "AMD EPYC 9654" or "NVIDIA H200"
  std::string isa;                     ///< CPU: the kernel table in use ("avx2"); CUDA: "sm_90"
  std::uint64_t memory_bytes = 0;      ///< total; 0 when unknown
};

/// Every usable device, the CPU first. A missing driver means fewer devices; none means that there was no memory for
/// the answer. Thread-safe.
INLAY_API std::vector<DeviceInfo> devices() noexcept;

}  // namespace inlay
