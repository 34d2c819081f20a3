// Compiled with -mavx2 -mfma -mf16c: run only where the CPU has them (cpu_isa.cpp).
#include "cpu/kernel_table.hpp"
#include "cpu/kernels/table.inl"
#include "cpu/vec_avx2.hpp"

namespace inlay::cpu {
namespace {
constexpr KernelTable kTable = make_table<Avx2>("avx2", WeightFormats{});
}  // namespace

const KernelTable& avx2_kernels() { return kTable; }

}  // namespace inlay::cpu
