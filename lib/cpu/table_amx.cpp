// Compiled with AMX and all that the AVX-512 table has: run only where the CPU and the system have them (cpu_isa.cpp).
#include "cpu/kernel_table.hpp"
#include "cpu/kernels/matmul_amx.inl"
#include "cpu/vec_avx512.hpp"

namespace inlay::cpu {
namespace {

struct Amx : Avx512 {
  static constexpr bool kMatrixTiles = true;
  /// The thread's tiles, shaped for the format while they are needed.
  template <class Format>
  struct MatrixUnit {
    explicit MatrixUnit(int n_tokens) : in_use(reads_tiles<Format>() && n_tokens >= kTokenTile) {
      if (in_use) configure_tiles();
    }
    ~MatrixUnit() {
      if (in_use) _tile_release();  // or every switch of threads would save the tiles
    }
    MatrixUnit(const MatrixUnit&) = delete;
    MatrixUnit& operator=(const MatrixUnit&) = delete;
    bool in_use;
  };
};

/// Replaces the matmul of one format, where tiles are used for it.
template <class Format>
void use_tiles(KernelTable& table, int index) {
  if constexpr (reads_tiles<Format>()) table.matmul[static_cast<std::size_t>(index)] = matmul<Amx, Format>;
}

template <class... Formats>
KernelTable make_table(FormatList<Formats...> /*formats*/) {
  KernelTable table = avx512_kernels();  // all other kernels
  table.name = "amx";
  int index = 0;
  (use_tiles<Formats>(table, index++), ...);
  return table;
}

}  // namespace

const KernelTable& amx_kernels() {
  static const KernelTable kTable = make_table(WeightFormats{});
  return kTable;
}

}  // namespace inlay::cpu
