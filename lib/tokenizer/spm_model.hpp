// SentencePiece's byte-pair model: neighbours merge while they form a piece, the best score first.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "tokenizer/flat_map.hpp"
#include "tokenizer/text_model.hpp"
#include "tokenizer/vocab.hpp"

namespace inlay {

/// Spaces are the character U+2581 inside pieces; a U+2581 of the text is therefore read back as a space. Bytes that no
/// piece covers, also those that are not UTF-8, become byte tokens; a vocabulary without byte tokens gives the unknown
/// token for such a character.
class SpmModel final : public TextModel {
 public:
  static Result<std::unique_ptr<SpmModel>> make(const VocabData& data, const Vocab& vocab);

  Result<void> encode(std::string_view text, std::vector<TokenId>& out) const override;

 private:
  SpmModel() = default;
  [[nodiscard]] TokenId find(std::string_view piece) const;
  void append(std::string_view bytes, TokenId token, std::vector<TokenId>& out) const;

  StringTable pieces_;                         // the keys of tokens_
  FlatMap<std::string_view, TokenId> tokens_;  // those that text may become
  std::vector<std::uint32_t> priorities_;      // [vocabulary size]
  std::array<TokenId, 256> byte_tokens_{};     // all or none kNoToken
  TokenId unknown_ = kNoToken;
  std::size_t max_piece_bytes_ = 0;
};

}  // namespace inlay
