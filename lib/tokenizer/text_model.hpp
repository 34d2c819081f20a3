// What turns plain text, without special tokens, into ids.
#pragma once

#include <string_view>
#include <vector>

#include <inlay/result.hpp>
#include <inlay/types.hpp>

namespace inlay {

/// Immutable: thread-safe.
class TextModel {
 public:
  virtual ~TextModel() = default;
  /// Appends the ids of `text`. Any bytes are accepted.
  virtual Result<void> encode(std::string_view text, std::vector<TokenId>& out) const = 0;
};

}  // namespace inlay
