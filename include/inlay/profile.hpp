// Where the time of a forward pass goes: what Session::profile returns.
#pragma once

#include <cstdint>
#include <vector>

#include <inlay/export.hpp>

namespace inlay {

/// What a step of a forward pass does. The values are part of the C ABI (`inlay_pass_step`): never renumbered, only
/// appended.
enum class PassStep : std::int32_t {
  kEmbed = 0,    ///< the token's row of the embedding table
  kQkv = 1,      ///< queries, keys and values of a layer; keys and values into the KV cache
  kAttend = 2,   ///< attention over all positions so far
  kProject = 3,  ///< the output matrix of the attention
  kGateUp = 4,   ///< the first matrices of the feed-forward part, and the activation
  kDown = 5,     ///< its last matrix
  kHead = 6,     ///< the logits, and the next token where no step of its own chooses it
  kChoose = 7,   ///< the next token, where a step of its own chooses it
};

/// A short name, for instance "gate+up". Never null, static storage.
INLAY_API const char* to_string(PassStep step) noexcept;

/// One step of one layer.
struct StepProfile {
  PassStep step = PassStep::kEmbed;  ///< what it does
  std::int32_t layer = -1;           ///< 0 <= layer < n_layers; -1: a step that belongs to none
  double time_us = 0.0;              ///< microseconds on the device, its start included; the median of several passes
  std::uint64_t bytes = 0;           ///< of weight matrices and KV cache that it reads, as they lie on the device
};

/// A forward pass over one row. The steps are timed one by one, each from the end of the one before to its own end. In
/// the pass as it is really run they overlap, so their sum is more than its time. Bytes that fit into the device's
/// cache may come faster than its memory can give them.
struct PassProfile {
  double time_us = 0.0;                ///< microseconds of the whole pass as it is really run; the median of several
  double peak_bytes_per_second = 0.0;  ///< what the device's memory can give at most; 0: unknown
  std::vector<StepProfile> steps;      ///< in the order in which they run
};

}  // namespace inlay
