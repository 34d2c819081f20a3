#include "tokenizer/bpe_model.hpp"

#include <algorithm>
#include <utility>

#include "base/try.hpp"
#include "tokenizer/byte_alphabet.hpp"

namespace inlay {
namespace {

constexpr std::size_t kMaxMerges = std::size_t{1} << 23U;  // thirty times what published vocabularies have

Status invalid(std::string message) { return {StatusCode::kInvalidModel, std::move(message)}; }

constexpr std::uint64_t pair_key(std::int32_t left, std::int32_t right) noexcept {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32U | static_cast<std::uint32_t>(right);
}

}  // namespace

Result<std::unique_ptr<BpeModel>> BpeModel::make(const VocabData& data, const Vocab& vocab) {
  INLAY_TRY_ASSIGN(PreTokenizer pre_tokenizer, PreTokenizer::make(data.pre));
  auto model = std::unique_ptr<BpeModel>(new BpeModel(std::move(pre_tokenizer)));
  INLAY_TRY(model->read_tokens(data, vocab));
  INLAY_TRY(model->read_merges(data));
  return model;
}

Result<void> BpeModel::read_tokens(const VocabData& data, const Vocab& vocab) {
  n_tokens_ = static_cast<SymbolId>(vocab.size());
  symbols_.reserve(vocab.size() + 256);
  std::string bytes;
  for (std::size_t i = 0; i < vocab.size(); ++i) {
    const auto token = static_cast<TokenId>(i);
    if (vocab.is_hidden(token) || vocab.kind(token) == TokenKind::kByte) continue;
    bytes.clear();
    // User-defined tokens are plain text: one that is not its own spelling in the alphabet cannot come out of a merge.
    if (data.pieces[i].empty() || !append_alphabet_bytes(data.pieces[i], bytes)) continue;
    if (bytes == vocab.bytes(token)) symbols_.try_emplace(vocab.bytes(token), token);  // of equal pieces the first
  }
  std::size_t n_bytes = 0;
  for (std::size_t byte = 0; byte < byte_symbols_.size(); ++byte) {
    const char character = static_cast<char>(byte);
    byte_symbols_[byte] = intern({&character, 1});
    if (is_token(byte_symbols_[byte])) ++n_bytes;
  }
  if (n_bytes == 0) return invalid("tokenizer.ggml.tokens: not a byte-level vocabulary: no byte has a token");
  return {};
}

Result<void> BpeModel::read_merges(const VocabData& data) {
  if (!data.merges) return invalid("tokenizer.ggml.merges: missing");
  if (data.merges->size() > kMaxMerges) {
    return invalid("tokenizer.ggml.merges: expected at most " + std::to_string(kMaxMerges) + " merges, found " +
                   std::to_string(data.merges->size()));
  }
  merges_.reserve(data.merges->size());
  std::uint32_t rank = 0;
  for (const std::string_view merge : *data.merges) {
    const std::size_t space = merge.find(' ');
    if (space == 0 || space == std::string_view::npos || space + 1 == merge.size() ||
        merge.find(' ', space + 1) != std::string_view::npos) {
      return invalid("tokenizer.ggml.merges: entry " + std::to_string(rank) +
                     ": expected two pieces with a space between them, found \"" + std::string(merge.substr(0, 64)) +
                     "\"");
    }
    add_merge(merge.substr(0, space), merge.substr(space + 1), rank);
    ++rank;
  }
  return {};
}

void BpeModel::add_merge(std::string_view left, std::string_view right, std::uint32_t rank) {
  std::string both;
  // Text is bytes: a merge of characters outside the alphabet never happens.
  if (!append_alphabet_bytes(left, both)) return;
  const std::size_t left_size = both.size();
  if (!append_alphabet_bytes(right, both)) return;
  const std::string_view bytes = both;
  const SymbolId left_symbol = intern(bytes.substr(0, left_size));
  const SymbolId right_symbol = intern(bytes.substr(left_size));
  // Of equal merges the first counts.
  merges_.try_emplace(pair_key(left_symbol, right_symbol), MergePair{rank, intern(bytes)});
}

BpeModel::SymbolId BpeModel::intern(std::string_view bytes) {
  if (const SymbolId* const known = symbols_.find(bytes)) return *known;
  const auto symbol = n_tokens_ + static_cast<SymbolId>(extra_bytes_.size());
  symbols_.try_emplace(extra_bytes_.emplace_back(bytes), symbol);
  return symbol;
}

void BpeModel::append(SymbolId symbol, std::string_view bytes, std::vector<TokenId>& out) const {
  if (is_token(symbol)) {
    out.push_back(symbol);
    return;
  }
  for (const char byte : bytes) {
    const SymbolId byte_symbol = byte_symbols_[static_cast<unsigned char>(byte)];
    if (is_token(byte_symbol)) out.push_back(byte_symbol);
  }
}

Result<void> BpeModel::encode(std::string_view text, std::vector<TokenId>& out) const {
  INLAY_TRY_ASSIGN(const std::vector<std::size_t> ends, pre_tokenizer_.split(text));
  MergeChain chain;
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    append_word(text.substr(begin, end - begin), chain, out);
    begin = end;
  }
  return {};
}

void BpeModel::append_word(std::string_view word, MergeChain& chain, std::vector<TokenId>& out) const {
  if (pre_tokenizer_.ignore_merges()) {
    const SymbolId* const whole = symbols_.find(word);
    if (whole != nullptr && is_token(*whole)) {
      out.push_back(*whole);
      return;
    }
  }
  chain.clear();
  for (std::size_t i = 0; i < word.size(); ++i) {
    chain.add({i, 1, byte_symbols_[static_cast<unsigned char>(word[i])]});
  }
  chain.merge([this](const MergeSymbol& left, const MergeSymbol& right) {
    const MergePair* const pair = merges_.find(pair_key(left.id, right.id));
    return pair == nullptr ? MergePair() : *pair;
  });
  chain.for_each([&](const MergeSymbol& symbol) { append(symbol.id, symbol.in(word), out); });
}

}  // namespace inlay
