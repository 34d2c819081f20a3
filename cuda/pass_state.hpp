// What changes from one forward pass to the next. It lies in device memory at a place that stays, so that a captured
// graph is replayed as it is.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "model/kv_page.hpp"

namespace inlay::cuda {

/// One row of a pass.
struct PassRow {
  std::int32_t token = 0;
  std::int32_t position = 0;
  std::int32_t first_page = 0;  // of the row's sequence, in PassState::pages
};

/// Rows whose logits are computed at a time.
inline constexpr int kLogitRows = 8;

/// Passes whose chosen tokens the host can still read.
inline constexpr int kChoiceRing = 8;

/// Device pointers to the state of the pass.
struct PassState {
  PassRow* rows = nullptr;              // [n_rows]
  std::int32_t* logit_rows = nullptr;   // [n_logits] the rows that want logits
  std::byte** pages = nullptr;          // addresses of the pages of all sequences, one sequence after the other
  unsigned* n_chosen = nullptr;         // passes that have chosen tokens
  std::int32_t* host_tokens = nullptr;  // page-locked: [kChoiceRing, kLogitRows] what they chose
  float2* rope = nullptr;               // [n_rows, n_pairs] cosine and sine of the row's position, times the magnitude
};

/// Where keys and values lie in a page: [layer][keys, values][kv_head][64 positions], a position's values of a head in
/// a row of kv_row_bytes.
struct KvLayout {
  int n_kv_heads = 0;
  int head_size = 0;
  int row_bytes = 0;  // of one position and head
  bool quantised = false;

  [[nodiscard]] __host__ __device__ std::size_t plane_bytes() const {
    return static_cast<std::size_t>(row_bytes) * static_cast<std::size_t>(kKvPagePositions);
  }
  /// Of the keys (plane 0) or the values (plane 1) of a layer and head at a slot of the page.
  [[nodiscard]] __host__ __device__ std::size_t offset(int layer, int plane, int head, int slot) const {
    return (static_cast<std::size_t>(2 * layer + plane) * static_cast<std::size_t>(n_kv_heads) +
            static_cast<std::size_t>(head)) *
               plane_bytes() +
           static_cast<std::size_t>(slot) * static_cast<std::size_t>(row_bytes);
  }
};

}  // namespace inlay::cuda
