// Compiled with AMX and all that the AVX-512 table has: run only where the CPU and the system have them (cpu_isa.cpp).
#include "cpu/kernel_table.hpp"
#include "cpu/kernels/matmul_bulk.inl"
#include "cpu/vec_avx512.hpp"

namespace inlay::cpu {
namespace {

/// Floats are multiplied as they are: rounded to bfloat16 they would lose what they were kept for.
template <class Format>
constexpr auto bulk_matmul_of() -> void (*)(const MatmulArgs&) {
  if constexpr (Format::block_weights > 1)
    return bulk_matmul<Avx512, Format>;
  else
    return nullptr;
}

template <class... Formats>
KernelTable make_table(FormatList<Formats...> /*formats*/) {
  KernelTable table = avx512_kernels();  // all other kernels
  table.name = "amx";
  table.bulk_matmul = {bulk_matmul_of<Formats>()...};
  table.round_bulk = round_bulk;
  return table;
}

}  // namespace

const KernelTable& amx_kernels() {
  static const KernelTable kTable = make_table(WeightFormats{});
  return kTable;
}

}  // namespace inlay::cpu
