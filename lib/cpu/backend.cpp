#include <algorithm>
#include <cstdint>

#include "base/checked_math.hpp"
#include "base/system.hpp"
#include "base/try.hpp"
#include "cpu/cpu_isa.hpp"
#include "cpu/executor.hpp"
#include "runtime/backend.hpp"

namespace inlay::cpu {

const Backend& backend();  // named by runtime/registry.cpp

namespace {

class CpuBackend final : public Backend {
 public:
  [[nodiscard]] DeviceKind kind() const override { return DeviceKind::kCpu; }

  [[nodiscard]] std::vector<DeviceInfo> devices() const override { return {describe(*usable_kernels().front())}; }

  [[nodiscard]] Result<DeviceInfo> choose_device(const ExecutorOptions& options) const override {
    if (options.device_index != 0) {
      return Status(StatusCode::kNotFound,
                    "model option device_index: there is no CPU " + std::to_string(options.device_index));
    }
    INLAY_TRY_ASSIGN(const KernelTable* kernels, choose_kernels(options.cpu_isa));
    return describe(*kernels);
  }

  [[nodiscard]] MemoryEstimate estimate(const Plan& plan, int context_length,
                                        const ExecutorOptions& options) const override {
    MemoryEstimate estimate;
    const Result<const KernelTable*> kernels = choose_kernels(options.cpu_isa);
    const KernelTable& table = kernels ? **kernels : generic_kernels();  // choose_device has refused what there is not
    if (table.reads_panels && options.weight_layout == WeightLayout::kRepacked) {
      estimate.weight_bytes = Weights::packed_bytes(plan) + Weights::file_bytes(plan);
    } else {
      for (const Matrix& matrix : plan.tensors.matrices()) estimate.weight_bytes += matrix.bytes();
    }
    for (const Vector& vector : plan.tensors.vectors()) estimate.weight_bytes += vector.values.size() * sizeof(float);
    estimate.activation_bytes = CpuExecutor::work_bytes(plan, table, options);
    const std::uint64_t n_pages = ceil_div(static_cast<std::uint64_t>(context_length), kKvPagePositions);
    estimate.kv_bytes = n_pages * KvMemory::page_bytes(plan.spec, options.kv_format);
    return estimate;
  }

  [[nodiscard]] Result<std::unique_ptr<Executor>> load(const Plan& plan,
                                                       const ExecutorOptions& options) const override {
    INLAY_TRY_ASSIGN(const KernelTable* kernels, choose_kernels(options.cpu_isa));
    return CpuExecutor::create(plan, *kernels, options);
  }

 private:
  static DeviceInfo describe(const KernelTable& kernels) {
    return {DeviceKind::kCpu, 0, cpu_name(), kernels.name, physical_memory_bytes()};
  }
};

}  // namespace

const Backend& backend() {
  static const CpuBackend kBackend;
  return kBackend;
}

}  // namespace inlay::cpu
