// What a Tokenizer handle points to.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <inlay/result.hpp>
#include <inlay/tokenizer.hpp>

#include "tokenizer/special_splitter.hpp"
#include "tokenizer/text_model.hpp"
#include "tokenizer/vocab.hpp"

namespace inlay {

/// Immutable: thread-safe.
///
/// decode(encode(text)) gives `text` back, byte for byte, with these exceptions: bytes for which a byte-level
/// vocabulary has no token are left out; a U+2581 in the text of a SentencePiece model comes back as a space; white
/// space that a special token swallows is gone; and special tokens read from the text show only with
/// RenderSpecial::kYes.
class Tokenizer::Impl {
 public:
  /// kInvalidModel and kUnsupported as load_tokenizer says. Copies what it needs of `data`.
  static Result<std::shared_ptr<const Impl>> make(const VocabData& data);

  [[nodiscard]] Result<std::vector<TokenId>> encode(std::string_view text, EncodeOptions options) const;
  [[nodiscard]] Result<std::string> decode(const std::vector<TokenId>& tokens, RenderSpecial special) const;
  [[nodiscard]] Result<std::string> piece(TokenId token, RenderSpecial special) const;
  [[nodiscard]] const Vocab& vocab() const noexcept { return vocab_; }
  [[nodiscard]] bool adds_bos() const noexcept { return add_bos_; }
  [[nodiscard]] bool adds_eos() const noexcept { return add_eos_; }

 private:
  Impl(Vocab vocab, std::string_view model_name) : vocab_(std::move(vocab)), splitter_(vocab_, model_name) {}
  Result<void> read_options(const VocabData& data, bool add_bos);
  Result<void> append_fragments(const std::vector<Fragment>& fragments, std::vector<TokenId>& tokens) const;
  [[nodiscard]] Result<void> check(TokenId token) const;
  [[nodiscard]] std::string_view shown_bytes(TokenId token, RenderSpecial special) const noexcept;

  Vocab vocab_;
  SpecialSplitter splitter_;
  std::unique_ptr<TextModel> model_;
  bool space_before_text_ = false;  // SentencePiece: a text begins like a word inside a text
  bool add_bos_ = false;
  bool add_eos_ = false;
};

}  // namespace inlay
