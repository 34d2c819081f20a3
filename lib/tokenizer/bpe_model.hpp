// Byte-level byte-pair encoding: inside each word neighbours merge in the order of a list of merges.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/flat_map.hpp"
#include "tokenizer/merge_chain.hpp"
#include "tokenizer/pre_tokenizer.hpp"
#include "tokenizer/text_model.hpp"
#include "tokenizer/vocab.hpp"

namespace inlay {

/// Works on plain bytes: the alphabet in which the vocabulary is written is undone when it is read. Some vocabularies
/// lack tokens for bytes that are rare in text; such bytes are left out, as the models' own tokenizers do.
class BpeModel final : public TextModel {
 public:
  /// Keeps views of the vocabulary's bytes: the vocabulary must outlive it.
  static Result<std::unique_ptr<BpeModel>> make(const VocabData& data, const Vocab& vocab);

  Result<void> encode(std::string_view text, std::vector<TokenId>& out) const override;

  [[nodiscard]] bool adds_bos() const noexcept { return pre_tokenizer_.add_bos(); }

 private:
  /// A token, or, from the vocabulary's size upwards, a byte string that merges speak of but that is no token.
  using SymbolId = std::int32_t;

  explicit BpeModel(PreTokenizer pre_tokenizer) : pre_tokenizer_(std::move(pre_tokenizer)) {}
  Result<void> read_tokens(const VocabData& data, const Vocab& vocab);
  Result<void> read_merges(const VocabData& data);
  void add_merge(std::string_view left, std::string_view right, std::uint32_t rank);
  SymbolId intern(std::string_view bytes);
  [[nodiscard]] bool is_token(SymbolId symbol) const noexcept { return symbol < n_tokens_; }
  void append_word(std::string_view word, MergeChain& chain, std::vector<TokenId>& out) const;
  void append(SymbolId symbol, std::string_view bytes, std::vector<TokenId>& out) const;

  PreTokenizer pre_tokenizer_;
  SymbolId n_tokens_ = 0;
  std::deque<std::string> extra_bytes_;          // of the symbols that are no tokens
  FlatMap<std::string_view, SymbolId> symbols_;  // by their bytes
  std::array<SymbolId, 256> byte_symbols_{};
  FlatMap<std::uint64_t, MergePair> merges_;  // by left << 32 | right; the priority is the place in the list
};

}  // namespace inlay
