// The checked vocabulary: what every token is, what bytes it stands for, and which ids have a role.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <inlay/result.hpp>
#include <inlay/types.hpp>

#include "tokenizer/vocab_data.hpp"

namespace inlay {

constexpr TokenId kNoToken = -1;

/// Token types with the numbers of the file format.
enum class TokenKind : std::uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

enum class VocabModel : std::uint8_t { kSentencePiece, kByteBpe };

/// Many short strings in one block. Views stay valid while the table lives and nothing is added, also when it moves.
class StringTable {
 public:
  void reserve(std::size_t n_strings) { ends_.reserve(n_strings); }
  void add(std::string_view text) {
    characters_.insert(characters_.end(), text.begin(), text.end());
    ends_.push_back(characters_.size());
  }
  [[nodiscard]] std::size_t size() const noexcept { return ends_.size(); }
  [[nodiscard]] std::string_view operator[](std::size_t i) const noexcept {
    const std::size_t begin = i == 0 ? 0 : ends_[i - 1];
    return {characters_.data() + begin, ends_[i] - begin};
  }

 private:
  std::vector<char> characters_;
  std::vector<std::size_t> ends_;
};

class Vocab {
 public:
  /// kInvalidModel and kUnsupported as load_tokenizer says.
  static Result<Vocab> make(const VocabData& data);

  [[nodiscard]] VocabModel model() const noexcept { return model_; }
  [[nodiscard]] std::size_t size() const noexcept { return kinds_.size(); }
  [[nodiscard]] bool contains(TokenId token) const noexcept {
    return token >= 0 && static_cast<std::size_t>(token) < size();
  }
  /// The bytes that a token stands for in text. Control and unknown tokens: their name.
  [[nodiscard]] std::string_view bytes(TokenId token) const noexcept { return bytes_[static_cast<std::size_t>(token)]; }
  [[nodiscard]] TokenKind kind(TokenId token) const noexcept { return kinds_[static_cast<std::size_t>(token)]; }
  /// Control and unknown tokens: never made from plain text, not shown in text.
  [[nodiscard]] bool is_hidden(TokenId token) const noexcept {
    return kind(token) == TokenKind::kControl || kind(token) == TokenKind::kUnknown;
  }
  /// Matched by name in a text, before the model splits the rest. User-defined tokens are matched in any text, the
  /// hidden ones when the caller asks for it.
  [[nodiscard]] bool is_special(TokenId token) const noexcept {
    return is_hidden(token) || kind(token) == TokenKind::kUserDefined;
  }
  [[nodiscard]] bool ends_generation(TokenId token) const noexcept;

  [[nodiscard]] TokenId bos() const noexcept { return bos_; }
  [[nodiscard]] TokenId eos() const noexcept { return eos_; }
  [[nodiscard]] TokenId eot() const noexcept { return eot_; }
  [[nodiscard]] TokenId eom() const noexcept { return eom_; }
  [[nodiscard]] TokenId unknown() const noexcept { return unknown_; }
  [[nodiscard]] TokenId padding() const noexcept { return padding_; }

 private:
  Vocab() = default;
  Result<void> read_kinds(const VocabData& data);
  Result<void> read_bytes(const VocabData& data);
  void append_bytes(TokenId token, std::string_view piece, std::string& bytes) const;
  Result<void> read_ids(const VocabData& data);
  void find_ends(const VocabData& data);
  [[nodiscard]] TokenId default_id(TokenId token) const noexcept;

  VocabModel model_ = VocabModel::kSentencePiece;
  std::vector<TokenKind> kinds_;  // [size]
  StringTable bytes_;             // [size]
  std::vector<TokenId> ends_;     // sorted
  TokenId bos_ = kNoToken;
  TokenId eos_ = kNoToken;
  TokenId eot_ = kNoToken;
  TokenId eom_ = kNoToken;
  TokenId unknown_ = kNoToken;
  TokenId padding_ = kNoToken;
};

/// The byte of a piece such as "<0x0A>", or -1.
int byte_of_piece(std::string_view piece) noexcept;

}  // namespace inlay
