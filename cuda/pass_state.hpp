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

/// How the token behind a row that wants one is chosen (inlay/sampling.hpp).
struct RowChoice {
  float temperature = 0.0F;  // 0: the highest logit
  std::int32_t top_k = 0;
  float top_p = 1.0F;
  float log_min_p = 0.0F;    // the host's logarithm, as its sampler takes it; -infinity: off
  std::uint64_t random = 0;  // state of the random stream
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
  RowChoice* choices = nullptr;         // [kLogitRows] of the rows that want logits, if tokens are chosen
  unsigned* n_chosen = nullptr;         // [kLogitRows] passes that have chosen tokens, counted by each row's block
  std::int32_t* host_tokens = nullptr;  // page-locked: [kChoiceRing, kLogitRows] what they chose
};

/// What a pass is told before it runs lies together, in this order, on the device and where it is uploaded from.
struct PassUpload {
  RowChoice* choices = nullptr;        // [kLogitRows]
  PassRow* rows = nullptr;             // [batch_rows]
  std::int32_t* logit_rows = nullptr;  // [batch_rows]

  PassUpload(std::byte* memory, int batch_rows)
      : choices(reinterpret_cast<RowChoice*>(memory)),
        rows(reinterpret_cast<PassRow*>(choices + kLogitRows)),
        logit_rows(reinterpret_cast<std::int32_t*>(rows + batch_rows)) {}
  static constexpr std::size_t bytes(std::size_t batch_rows) {
    return kLogitRows * sizeof(RowChoice) + batch_rows * (sizeof(PassRow) + sizeof(std::int32_t));
  }
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
