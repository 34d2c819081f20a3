// Makes records (record.hpp) of rows as they stand in a file.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "cuda/record.hpp"

namespace inlay::cuda {

/// Packs `n_rows` rows into the panels from `records` on, the first row at the beginning of a panel; rows and columns
/// that are not there become zeros. `rows`: device memory, [n_rows, row_bytes] blocks, 4-byte aligned. Asynchronous.
cudaError_t repack(Format format, const std::byte* rows, int n_rows, int n_cols, std::byte* records,
                   cudaStream_t stream);

}  // namespace inlay::cuda
