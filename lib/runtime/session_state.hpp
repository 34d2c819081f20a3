// The bytes of a saved session. All numbers are little-endian.
//
//    0 | StateHeader
//   88 | tokens                           int32 each
//      | kinds of the tokens (RowKind)    a byte each
//      | pages
//      | XXH3 of everything ahead of it   uint64
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <inlay/result.hpp>
#include <inlay/sampling.hpp>
#include <inlay/types.hpp>

#include "runtime/backend.hpp"

namespace inlay {

/// What the pages of a session mean something to.
struct StateOwner {
  std::uint64_t fingerprint = 0;
  KvFormat kv_format = KvFormat::kF16;
  PageLayout layout = PageLayout::kNone;
  std::size_t page_bytes = 0;
  int vocab_size = 0;
};

struct SessionState {
  SamplingOptions sampling;
  std::uint64_t random = 0;  // state of the random stream
  std::vector<TokenId> tokens;
  std::vector<RowKind> kinds;        // of the tokens
  int n_pages = 0;                   // whole ones: of the first 64 * n_pages tokens
  std::span<const std::byte> pages;  // [n_pages, page_bytes]; begin_state does not look at them
};

/// The bytes of a state but for its pages and checksum.
std::vector<std::byte> begin_state(const StateOwner& owner, const SessionState& state);
/// Where begin_state has left room for the pages.
std::span<std::byte> pages_of(std::vector<std::byte>& bytes, const StateOwner& owner, int n_pages);
/// Writes the checksum: then the state is complete.
void seal_state(std::vector<std::byte>& bytes);

/// Checks everything. The pages of the result are a part of `bytes`. kInvalidState.
Result<SessionState> parse_state(std::span<const std::byte> bytes, const StateOwner& owner);

}  // namespace inlay
