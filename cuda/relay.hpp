// The memory through which the kernels of a pass of one row hand over their results word by word (arrival.cuh). Every
// output of a step has a place of its own, so that nothing is written twice in a pass. There are two sets, which passes
// take in turn: while one is in use, the first kernel of the pass fills the other with absent words.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include <inlay/result.hpp>

#include "cuda/activations.hpp"
#include "cuda/device_pool.hpp"
#include "cuda/pass_state.hpp"

namespace inlay::cuda {

/// Sets of places.
inline constexpr int kRelaySets = 2;
inline constexpr int kNoSet = -1;  // of a pass whose kernels wait for each other

/// What a step hands over, as counts of values; zeros for what it does not make.
struct RelayShape {
  int n_floats = 0;
  int n_quantised = 0;       // columns of quantised activations
  std::size_t kv_bytes = 0;  // rows of the cache: [keys, values][kv_head][row_bytes]
  int n_pairs = 0;           // rotations
};

/// Where it does so.
struct RelayPlace {
  float* floats = nullptr;
  QuantisedRows quantised;
  std::byte* kv = nullptr;
  float2* rope = nullptr;
};

class Relay {
 public:
  Relay() = default;
  /// One place for each of the shapes, in both sets, filled with absent words on the stream.
  static Result<Relay> create(const std::vector<RelayShape>& shapes, cudaStream_t stream);
  /// Device memory that it takes.
  static std::uint64_t bytes(const std::vector<RelayShape>& shapes);

  [[nodiscard]] bool is_empty() const { return offsets_.empty(); }
  [[nodiscard]] RelayPlace place(int set, std::size_t index) const;
  /// All places of a set.
  [[nodiscard]] std::byte* begin(int set) const { return memory_.as() + static_cast<std::size_t>(set) * set_bytes_; }
  [[nodiscard]] std::size_t set_bytes() const { return set_bytes_; }

 private:
  /// From the beginning of a set on.
  struct Offsets {
    std::size_t floats = 0;
    std::size_t words = 0;
    std::size_t sums = 0;
    std::size_t kv = 0;
    std::size_t rope = 0;
  };
  static Offsets lay_out(const RelayShape& shape, std::size_t& end);

  std::vector<RelayShape> shapes_;
  std::vector<Offsets> offsets_;
  Memory memory_;
  std::size_t set_bytes_ = 0;
};

}  // namespace inlay::cuda
