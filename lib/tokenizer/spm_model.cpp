#include "tokenizer/spm_model.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "base/try.hpp"
#include "tokenizer/merge_chain.hpp"
#include "tokenizer/utf8.hpp"

namespace inlay {
namespace {

constexpr std::string_view kEscapedSpace = "\xE2\x96\x81";  // U+2581

Status invalid(std::string message) { return {StatusCode::kInvalidModel, std::move(message)}; }

std::string escape_spaces(std::string_view text) {
  std::string escaped;
  escaped.reserve(text.size() + text.size() / 2);
  for (const char character : text) {
    if (character == ' ') {
      escaped += kEscapedSpace;
    } else {
      escaped += character;
    }
  }
  return escaped;
}

std::string byte_name(std::size_t byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
}

/// The greatest score has the least priority number; equal scores have equal ones.
std::uint32_t priority_of(float score) noexcept {
  // The bits of floats order like sign and magnitude; 0 and -0 become one.
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F);
  constexpr std::uint32_t kSign = 0x80000000U;
  return (bits & kSign) != 0 ? bits : ~(bits | kSign);
}

Result<std::vector<std::uint32_t>> read_priorities(const VocabData& data) {
  if (!data.scores) return invalid("tokenizer.ggml.scores: missing");
  const std::vector<float>& scores = *data.scores;
  if (scores.size() != data.pieces.size()) {
    return invalid("tokenizer.ggml.scores: expected " + std::to_string(data.pieces.size()) + " entries, found " +
                   std::to_string(scores.size()));
  }
  std::vector<std::uint32_t> priorities(scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) return invalid("tokenizer.ggml.scores: entry " + std::to_string(i) + " is not a number");
    priorities[i] = priority_of(scores[i]);
  }
  return priorities;
}

/// Text may become any token but the special ones, and bytes only as the last resort.
bool text_may_become(const Vocab& vocab, TokenId token) {
  return !vocab.is_hidden(token) && vocab.kind(token) != TokenKind::kByte;
}

}  // namespace

Result<std::unique_ptr<SpmModel>> SpmModel::make(const VocabData& data, const Vocab& vocab) {
  auto model = std::unique_ptr<SpmModel>(new SpmModel());
  INLAY_TRY_ASSIGN(model->priorities_, read_priorities(data));
  model->unknown_ = vocab.unknown();
  model->byte_tokens_.fill(kNoToken);

  model->pieces_.reserve(vocab.size());
  for (const std::string_view piece : data.pieces) model->pieces_.add(piece);
  model->tokens_.reserve(vocab.size());
  for (std::size_t i = 0; i < vocab.size(); ++i) {
    const auto token = static_cast<TokenId>(i);
    const std::string_view piece = model->pieces_[i];
    if (vocab.kind(token) == TokenKind::kByte) {
      TokenId& byte_token = model->byte_tokens_[static_cast<unsigned char>(vocab.bytes(token)[0])];
      if (byte_token == kNoToken) byte_token = token;
    } else if (text_may_become(vocab, token) && !piece.empty()) {
      model->tokens_.try_emplace(piece, token);  // of equal pieces the first counts
      model->max_piece_bytes_ = std::max(model->max_piece_bytes_, piece.size());
    }
  }

  const auto missing = std::find(model->byte_tokens_.begin(), model->byte_tokens_.end(), kNoToken);
  const bool none = std::all_of(model->byte_tokens_.begin(), model->byte_tokens_.end(),
                                [](TokenId token) { return token == kNoToken; });
  if (missing != model->byte_tokens_.end() && (!none || model->unknown_ == kNoToken)) {
    const auto byte = static_cast<std::size_t>(missing - model->byte_tokens_.begin());
    return invalid("tokenizer.ggml.tokens: the byte token \"" + byte_name(byte) + "\" is missing");
  }
  return model;
}

TokenId SpmModel::find(std::string_view piece) const {
  if (piece.size() > max_piece_bytes_) return kNoToken;
  const TokenId* const token = tokens_.find(piece);
  return token == nullptr ? kNoToken : *token;
}

void SpmModel::append(std::string_view bytes, TokenId token, std::vector<TokenId>& out) const {
  if (token != kNoToken) {
    out.push_back(token);
  } else if (byte_tokens_[0] == kNoToken) {
    out.push_back(unknown_);
  } else {
    for (const char byte : bytes) out.push_back(byte_tokens_[static_cast<unsigned char>(byte)]);
  }
}

Result<void> SpmModel::encode(std::string_view text, std::vector<TokenId>& out) const {
  const std::string escaped = escape_spaces(text);
  const std::string_view whole = escaped;
  MergeChain chain;
  for (std::size_t begin = 0; begin < whole.size();) {
    const std::size_t size = next_utf8(whole.substr(begin)).size;
    chain.add({begin, static_cast<std::uint32_t>(size), find(whole.substr(begin, size))});
    begin += size;
  }
  chain.merge([this, whole](const MergeSymbol& left, const MergeSymbol& right) {
    const TokenId token = find(whole.substr(left.begin, left.size + right.size));
    return token == kNoToken ? MergePair() : MergePair{priorities_[static_cast<std::size_t>(token)], token};
  });
  chain.for_each([&](const MergeSymbol& symbol) { append(symbol.in(whole), symbol.id, out); });
  return {};
}

}  // namespace inlay
