// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <inlay/export.hpp>
#include <inlay/result.hpp>
#include <inlay/types.hpp>

namespace inlay {

/// Whether the ids that the model wants around a text (begin of sequence, sometimes end) are added.
enum class AddSpecial : std::int32_t { kNo = 0, kYes = 1 };
/// Whether text such as "<|im_start|>" becomes the special token of that name, or plain text.
enum class ParseSpecial : std::int32_t { kNo = 0, kYes = 1 };
/// Whether control tokens appear in decoded text.
enum class RenderSpecial : std::int32_t { kNo = 0, kYes = 1 };

/// What becomes of special tokens.
struct EncodeOptions {
  AddSpecial add_special = AddSpecial::kYes;       ///< around the text
  ParseSpecial parse_special = ParseSpecial::kNo;  ///< inside it
};

/// The vocabulary of a model. A cheap handle that keeps the vocabulary alive. Every call is thread-safe.
class INLAY_API Tokenizer {
 public:
  /// Ids of `text`. Any bytes are accepted: bytes that are not UTF-8 become byte tokens or the unknown token. Bytes for
  /// which a byte-level vocabulary has no token at all (some lack rare control characters) are left out.
  /// kInvalidArgument when the text is longer than 2^31 - 1 bytes.
  [[nodiscard]] Result<std::vector<TokenId>> encode(std::string_view text, EncodeOptions options = {}) const noexcept;

  /// The text of `tokens`, in one piece. A space with which a SentencePiece vocabulary begins every text is dropped
  /// where `encode` would add it, at the start and after a special token. kInvalidArgument for an id outside the
  /// vocabulary.
  [[nodiscard]] Result<std::string> decode(const std::vector<TokenId>& tokens,
                                           RenderSpecial special = RenderSpecial::kNo) const noexcept;

  /// The raw bytes of one token: possibly a part of a UTF-8 character. kInvalidArgument for an id outside the
  /// vocabulary.
  [[nodiscard]] Result<std::string> piece(TokenId token, RenderSpecial special = RenderSpecial::kNo) const noexcept;

  [[nodiscard]] std::int32_t vocab_size() const noexcept;  ///< number of token ids
  [[nodiscard]] TokenId bos() const noexcept;              ///< begin of sequence; -1: none
  [[nodiscard]] TokenId eos() const noexcept;              ///< end of sequence; -1: none
  /// True for every token that ends a generation (end of sequence, end of turn, end of text).
  [[nodiscard]] bool is_end_of_generation(TokenId token) const noexcept;

  class INLAY_LOCAL Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) noexcept;  ///< made by Model

 private:
  std::shared_ptr<const Impl> impl_;
};

/// Joins token pieces into text that never ends inside a UTF-8 character. Not thread-safe; one per stream.
class INLAY_API Utf8Stream {
 public:
  /// Adds bytes and returns what is complete now. Bytes that can never become valid are replaced by U+FFFD.
  /// kOutOfMemory, after which the stream is as before.
  [[nodiscard]] Result<std::string> push(std::string_view bytes) noexcept;
  /// What is left at the end of the stream; an unfinished character becomes U+FFFD.
  [[nodiscard]] std::string finish() noexcept;

 private:
  std::string pending_;
};

}  // namespace inlay
