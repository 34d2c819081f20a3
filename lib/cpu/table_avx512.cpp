// Compiled with AVX-512 F, BW, DQ, VL and VNNI: run only where the CPU has them (cpu_isa.cpp).
#include "cpu/kernel_table.hpp"
#include "cpu/kernels/table.inl"
#include "cpu/vec_avx512.hpp"

namespace inlay::cpu {
namespace {
constexpr KernelTable kTable = make_table<Avx512>("avx512", WeightFormats{});
}  // namespace

const KernelTable& avx512_kernels() { return kTable; }

}  // namespace inlay::cpu
