// Compiled with AMX and all that the AVX-512 table has: run only where the CPU and the system have them (cpu_isa.cpp).
#include "cpu/kernel_table.hpp"
#include "cpu/kernels/matmul_amx.inl"
#include "cpu/kernels/table.inl"
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

constexpr KernelTable kTable = make_table<Amx>("amx", WeightFormats{});

}  // namespace

const KernelTable& amx_kernels() { return kTable; }

}  // namespace inlay::cpu
