#include "tokenizer/spm_model.hpp"

#include <algorithm>
#include <cmath>
#include <queue>
#include <string>

#include "base/try.hpp"
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

Result<std::vector<float>> checked_scores(const VocabData& data) {
  if (!data.scores) return invalid("tokenizer.ggml.scores: missing");
  if (data.scores->size() != data.pieces.size()) {
    return invalid("tokenizer.ggml.scores: expected " + std::to_string(data.pieces.size()) + " entries, found " +
                   std::to_string(data.scores->size()));
  }
  for (std::size_t i = 0; i < data.scores->size(); ++i) {
    if (std::isnan((*data.scores)[i])) {
      return invalid("tokenizer.ggml.scores: entry " + std::to_string(i) + " is not a number");
    }
  }
  return *data.scores;
}

/// Text may become any token but the special ones, and bytes only as the last resort.
bool text_may_become(const Vocab& vocab, TokenId token) {
  return !vocab.is_hidden(token) && vocab.kind(token) != TokenKind::kByte;
}

}  // namespace

/// The merging of one text.
class SpmModel::Merger {
 public:
  Merger(const SpmModel& model, std::string_view text) : model_(model), text_(text) {}

  void run() {
    read_symbols();
    for (std::size_t i = 1; i < symbols_.size(); ++i) {
      queue(static_cast<std::int32_t>(i - 1), static_cast<std::int32_t>(i));
    }
    while (!queue_.empty()) {
      const Merge merge = queue_.top();
      queue_.pop();
      apply(merge);
    }
  }

  void append_tokens(std::vector<TokenId>& out) const {
    for (const Symbol& symbol : symbols_) {
      if (symbol.size != 0) model_.append(text_.substr(symbol.begin, symbol.size), symbol.token, out);
    }
  }

 private:
  /// The best score first, then the leftmost.
  struct Later {
    bool operator()(const Merge& a, const Merge& b) const noexcept {
      return a.score != b.score ? a.score < b.score : a.left > b.left;
    }
  };

  void read_symbols() {
    for (std::size_t begin = 0; begin < text_.size();) {
      const Utf8Unit unit = next_utf8(text_.substr(begin));
      const auto index = static_cast<std::int32_t>(symbols_.size());
      symbols_.push_back({begin, static_cast<std::uint32_t>(unit.size), index - 1, index + 1,
                          model_.find(text_.substr(begin, unit.size))});
      begin += unit.size;
    }
    if (!symbols_.empty()) symbols_.back().next = -1;
  }

  Symbol& at(std::int32_t i) { return symbols_[static_cast<std::size_t>(i)]; }

  void queue(std::int32_t left, std::int32_t right) {
    if (left < 0 || right < 0) return;
    const std::uint32_t size = at(left).size + at(right).size;
    const TokenId token = model_.find(text_.substr(at(left).begin, size));
    if (token == kNoToken) return;
    queue_.push({model_.scores_[static_cast<std::size_t>(token)], left, right, size, token});
  }

  void apply(const Merge& merge) {
    Symbol& left = at(merge.left);
    Symbol& right = at(merge.right);
    if (left.size == 0 || right.size == 0 || left.size + right.size != merge.size) return;
    left.size = merge.size;
    left.token = merge.token;
    left.next = right.next;
    right.size = 0;
    if (left.next >= 0) at(left.next).previous = merge.left;
    queue(left.previous, merge.left);
    queue(merge.left, left.next);
  }

  const SpmModel& model_;
  std::string_view text_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Merge, std::vector<Merge>, Later> queue_;
};

Result<std::unique_ptr<SpmModel>> SpmModel::make(const VocabData& data, const Vocab& vocab) {
  auto model = std::unique_ptr<SpmModel>(new SpmModel());
  INLAY_TRY_ASSIGN(model->scores_, checked_scores(data));
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
  Merger merger(*this, escaped);
  merger.run();
  merger.append_tokens(out);
  return {};
}

}  // namespace inlay
