// Finds special tokens by their name in a text.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include <inlay/tokenizer.hpp>

#include "tokenizer/flat_map.hpp"
#include "tokenizer/vocab.hpp"

namespace inlay {

/// A special token, or the text between two of them.
struct Fragment {
  TokenId token = kNoToken;  // kNoToken: text
  std::string_view text;     // never empty for text; a view into the text that was split
};

/// Immutable after construction. Views of the vocabulary's bytes are kept: the vocabulary must outlive it.
class SpecialSplitter {
 public:
  /// `model_name` decides which tokens swallow the white space after them; files do not say it in another way.
  SpecialSplitter(const Vocab& vocab, std::string_view model_name);

  /// The longest name wins wherever it stands, then the leftmost. Without ParseSpecial::kYes only user-defined tokens
  /// are found.
  [[nodiscard]] std::vector<Fragment> split(std::string_view text, ParseSpecial parse_special) const;

 private:
  struct Special {
    std::string_view name;
    TokenId token = kNoToken;
    bool only_when_asked = true;
    bool strips_right = false;
  };
  using Node = std::uint32_t;

  void add_to_trie(std::uint32_t special);
  [[nodiscard]] Node child(Node node, unsigned char byte) const noexcept;
  /// Which specials occur anywhere in `text`, as ascending indices.
  [[nodiscard]] std::vector<std::uint32_t> occurring(std::string_view text, ParseSpecial parse_special) const;
  static void split_fragment(const Fragment& fragment, const Special& special, std::vector<Fragment>& out);

  std::vector<Special> specials_;               // the longest first
  FlatMap<std::uint64_t, Node> children_;       // node << 8 | byte -> node; the root is 0
  std::vector<std::uint32_t> special_of_node_;  // kNoSpecial: no name ends here
  std::array<bool, 256> starts_{};              // bytes with which names start
};

}  // namespace inlay
