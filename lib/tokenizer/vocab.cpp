#include "tokenizer/vocab.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "base/try.hpp"
#include "tokenizer/byte_alphabet.hpp"

namespace inlay {
namespace {

// Ten times what the greatest published vocabularies have; the longest pieces there are runs of some hundred spaces.
constexpr std::size_t kMaxTokens = std::size_t{1} << 22U;
constexpr std::size_t kMaxPieceBytes = 8192;

/// Names by which models call the token that ends a turn or a text, the most telling first. Models are published
/// with a wrong type for some of them.
struct EndName {
  std::string_view text;
  bool ends_turn;  // may serve as end of turn where the file names none
  bool any_type;   // no ordinary text looks so: a control token whatever its type says
};
constexpr std::array kEndNames = {
    EndName{"<|eot_id|>", true, true},
    EndName{"<|im_end|>", true, true},
    EndName{"<|end|>", true, true},
    EndName{"<end_of_turn>", true, true},
    EndName{"<|endoftext|>", true, true},
    EndName{"<|end_of_text|>", true, true},
    EndName{"<\xEF\xBD\x9C"
            "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
            true, true},
    EndName{"<end_of_utterance>", true, true},
    EndName{"<|eom_id|>", false, true},
    EndName{"<EOT>", true, false},
    EndName{"_<EOT>", true, false},
    EndName{"[EOT]", true, false},
    EndName{"[EOS]", false, false},
    EndName{"<eos>", false, false},
    EndName{"</s>", false, false},
};
constexpr std::string_view kEndOfMessage = "<|eom_id|>";

constexpr std::string_view kEscapedSpace = "\xE2\x96\x81";  // U+2581

Status invalid(std::string message) { return {StatusCode::kInvalidModel, std::move(message)}; }

int hex_digit(char character) noexcept {
  if (character >= '0' && character <= '9') return character - '0';
  if (character >= 'A' && character <= 'F') return character - 'A' + 10;
  if (character >= 'a' && character <= 'f') return character - 'a' + 10;
  return -1;
}

void append_unescaped(std::string_view piece, std::string& out) {
  for (auto at = piece.find(kEscapedSpace); at != std::string_view::npos; at = piece.find(kEscapedSpace)) {
    out += piece.substr(0, at);
    out += ' ';
    piece.remove_prefix(at + kEscapedSpace.size());
  }
  out += piece;
}

Result<TokenId> checked_id(std::string_view key, std::optional<std::int64_t> value, std::size_t size,
                           TokenId otherwise) {
  if (!value) return otherwise;
  if (*value < 0 || static_cast<std::uint64_t>(*value) >= size) {
    return invalid("tokenizer.ggml." + std::string(key) + ": expected an id below the vocabulary's size " +
                   std::to_string(size) + ", found " + std::to_string(*value));
  }
  return static_cast<TokenId>(*value);
}

Result<VocabModel> read_model(std::string_view name) {
  if (name == "llama") return VocabModel::kSentencePiece;
  if (name == "gpt2") return VocabModel::kByteBpe;
  return Status(StatusCode::kUnsupported, "tokenizer.ggml.model: expected \"llama\" or \"gpt2\", found \"" +
                                              std::string(name.substr(0, 64)) + "\"");
}

}  // namespace

int byte_of_piece(std::string_view piece) noexcept {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  const int high = hex_digit(piece[3]);
  const int low = hex_digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

Result<Vocab> Vocab::make(const VocabData& data) {
  if (data.pieces.empty()) return invalid("tokenizer.ggml.tokens: the vocabulary is empty");
  if (data.pieces.size() > kMaxTokens) {
    return invalid("tokenizer.ggml.tokens: expected at most " + std::to_string(kMaxTokens) + " tokens, found " +
                   std::to_string(data.pieces.size()));
  }
  Vocab vocab;
  INLAY_TRY_ASSIGN(vocab.model_, read_model(data.model));
  INLAY_TRY(vocab.read_kinds(data));
  vocab.find_ends(data);
  INLAY_TRY(vocab.read_bytes(data));
  INLAY_TRY(vocab.read_ids(data));
  return vocab;
}

Result<void> Vocab::read_kinds(const VocabData& data) {
  const std::size_t size = data.pieces.size();
  kinds_.assign(size, TokenKind::kNormal);
  if (!data.types) {
    for (std::size_t i = 0; model_ == VocabModel::kSentencePiece && i < size; ++i) {
      if (byte_of_piece(data.pieces[i]) >= 0) kinds_[i] = TokenKind::kByte;
    }
    return {};
  }
  const auto& types = *data.types;
  if (types.size() != size) {
    return invalid("tokenizer.ggml.token_type: expected " + std::to_string(size) + " entries, found " +
                   std::to_string(types.size()));
  }
  for (std::size_t i = 0; i < size; ++i) {
    if (types[i] < 0 || types[i] > static_cast<std::int64_t>(TokenKind::kByte)) {
      return invalid("tokenizer.ggml.token_type: entry " + std::to_string(i) + ": expected 0 to 6, found " +
                     std::to_string(types[i]));
    }
    kinds_[i] = static_cast<TokenKind>(types[i]);
  }
  return {};
}

void Vocab::find_ends(const VocabData& data) {
  std::array<TokenId, kEndNames.size()> ids{};
  ids.fill(kNoToken);
  for (std::size_t i = 0; i < data.pieces.size(); ++i) {
    const auto* const name = std::find_if(kEndNames.begin(), kEndNames.end(),
                                          [&](const EndName& end) { return end.text == data.pieces[i]; });
    if (name == kEndNames.end()) continue;
    const auto id = static_cast<TokenId>(i);
    if (!name->any_type && !is_special(id)) continue;
    kinds_[i] = TokenKind::kControl;
    ids[static_cast<std::size_t>(name - kEndNames.begin())] = id;
    ends_.push_back(id);
  }
  for (std::size_t i = 0; i < kEndNames.size(); ++i) {
    if (eot_ == kNoToken && kEndNames[i].ends_turn) eot_ = ids[i];
    if (kEndNames[i].text == kEndOfMessage) eom_ = ids[i];
  }
}

void Vocab::append_bytes(TokenId token, std::string_view piece, std::string& bytes) const {
  if (kind(token) == TokenKind::kByte) {
    bytes += static_cast<char>(byte_of_piece(piece));
  } else if (!is_special(token) && model_ == VocabModel::kSentencePiece) {
    append_unescaped(piece, bytes);
  } else if (is_special(token) || !append_alphabet_bytes(piece, bytes)) {
    // Special tokens are plain text. No text encodes to a piece outside the alphabet: a model that emits it means what
    // it says.
    bytes += piece;
  }
}

Result<void> Vocab::read_bytes(const VocabData& data) {
  bytes_.reserve(data.pieces.size());
  std::string bytes;
  for (std::size_t i = 0; i < data.pieces.size(); ++i) {
    const std::string_view piece = data.pieces[i];
    const auto id = static_cast<TokenId>(i);
    if (piece.size() > kMaxPieceBytes) {
      return invalid("tokenizer.ggml.tokens: entry " + std::to_string(i) + ": expected at most " +
                     std::to_string(kMaxPieceBytes) + " bytes, found " + std::to_string(piece.size()));
    }
    if (kind(id) == TokenKind::kByte && byte_of_piece(piece) < 0) {
      return invalid("tokenizer.ggml.tokens: entry " + std::to_string(i) +
                     ": a byte token is expected to read \"<0xXX>\", found \"" + std::string(piece.substr(0, 64)) +
                     "\"");
    }
    bytes.clear();
    append_bytes(id, piece, bytes);
    bytes_.add(bytes);
  }
  return {};
}

/// A role that the file leaves open goes to the token that has it by custom, if that token looks the part.
TokenId Vocab::default_id(TokenId token) const noexcept {
  return model_ == VocabModel::kSentencePiece && contains(token) && is_special(token) ? token : kNoToken;
}

Result<void> Vocab::read_ids(const VocabData& data) {
  // The ids of SentencePiece's own trainer.
  INLAY_TRY_ASSIGN(unknown_, checked_id("unknown_token_id", data.unknown, size(), default_id(0)));
  INLAY_TRY_ASSIGN(bos_, checked_id("bos_token_id", data.bos, size(), default_id(1)));
  INLAY_TRY_ASSIGN(eos_, checked_id("eos_token_id", data.eos, size(), default_id(2)));
  INLAY_TRY_ASSIGN(padding_, checked_id("padding_token_id", data.padding, size(), kNoToken));
  INLAY_TRY_ASSIGN(eot_, checked_id("eot_token_id", data.eot, size(), eot_));
  INLAY_TRY_ASSIGN(eom_, checked_id("eom_token_id", data.eom, size(), eom_));
  for (const TokenId id : {eos_, eot_, eom_}) {
    if (id != kNoToken) ends_.push_back(id);
  }
  std::sort(ends_.begin(), ends_.end());
  ends_.erase(std::unique(ends_.begin(), ends_.end()), ends_.end());
  return {};
}

bool Vocab::ends_generation(TokenId token) const noexcept {
  return std::binary_search(ends_.begin(), ends_.end(), token);
}

}  // namespace inlay
