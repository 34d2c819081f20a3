#include "tokenizer/bpe_model.hpp"

#include <algorithm>
#include <queue>
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

/// The merging of words, one after another; keeps its memory from word to word.
class BpeModel::Merger {
 public:
  explicit Merger(const BpeModel& model) : model_(model) {}

  void append_word(std::string_view word, std::vector<TokenId>& out) {
    read_symbols(word);
    for (std::size_t i = 1; i < symbols_.size(); ++i) {
      queue(static_cast<std::int32_t>(i - 1), static_cast<std::int32_t>(i));
    }
    while (!queue_.empty()) {
      const Candidate candidate = queue_.top();
      queue_.pop();
      apply(candidate);
    }
    for (std::int32_t i = 0; i >= 0; i = at(i).next) {
      model_.append(at(i).id, word.substr(at(i).begin, at(i).size), out);
    }
  }

 private:
  static constexpr SymbolId kMergedAway = -1;

  struct Symbol {
    std::uint32_t begin = 0;
    std::uint32_t size = 0;
    SymbolId id = 0;
    std::int32_t previous = -1;
    std::int32_t next = -1;
  };

  /// Holds while both symbols are what they were when it was queued.
  struct Candidate {
    std::uint32_t rank = 0;
    std::int32_t left = 0;
    std::int32_t right = 0;
    SymbolId left_id = 0;
    SymbolId right_id = 0;
    SymbolId result = 0;
  };

  /// The first of the list first, then the leftmost.
  struct Later {
    bool operator()(const Candidate& a, const Candidate& b) const noexcept {
      return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
    }
  };

  Symbol& at(std::int32_t i) { return symbols_[static_cast<std::size_t>(i)]; }

  void read_symbols(std::string_view word) {
    symbols_.clear();
    for (const char byte : word) {
      const auto index = static_cast<std::int32_t>(symbols_.size());
      symbols_.push_back({static_cast<std::uint32_t>(index), 1, model_.byte_symbols_[static_cast<unsigned char>(byte)],
                          index - 1, index + 1});
    }
    symbols_.back().next = -1;
  }

  void queue(std::int32_t left, std::int32_t right) {
    if (left < 0 || right < 0) return;
    const SymbolId left_id = at(left).id;
    const SymbolId right_id = at(right).id;
    const Merge* const merge = model_.find_merge(left_id, right_id);
    if (merge != nullptr) queue_.push({merge->rank, left, right, left_id, right_id, merge->result});
  }

  void apply(const Candidate& candidate) {
    Symbol& left = at(candidate.left);
    Symbol& right = at(candidate.right);
    if (left.id != candidate.left_id || right.id != candidate.right_id) return;
    left.id = candidate.result;
    left.size += right.size;
    left.next = right.next;
    right.id = kMergedAway;
    if (left.next >= 0) at(left.next).previous = candidate.left;
    queue(left.previous, candidate.left);
    queue(candidate.left, left.next);
  }

  const BpeModel& model_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate, std::vector<Candidate>, Later> queue_;
};

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
  std::string bytes;
  std::uint32_t rank = 0;
  for (const std::string_view merge : *data.merges) {
    const std::size_t space = merge.find(' ');
    if (space == 0 || space == std::string_view::npos || space + 1 == merge.size() ||
        merge.find(' ', space + 1) != std::string_view::npos) {
      return invalid("tokenizer.ggml.merges: entry " + std::to_string(rank) +
                     ": expected two pieces with a space between them, found \"" + std::string(merge.substr(0, 64)) +
                     "\"");
    }
    bytes.clear();
    // Text is bytes: a merge of characters outside the alphabet never happens.
    if (append_alphabet_bytes(merge.substr(0, space), bytes)) {
      const std::size_t left_size = bytes.size();
      if (append_alphabet_bytes(merge.substr(space + 1), bytes)) {
        const std::string_view both = bytes;
        const SymbolId left = intern(both.substr(0, left_size));
        const SymbolId right = intern(both.substr(left_size));
        merges_.try_emplace(pair_key(left, right), Merge{rank, intern(both)});  // of equal merges the first counts
      }
    }
    ++rank;
  }
  return {};
}

BpeModel::SymbolId BpeModel::intern(std::string_view bytes) {
  if (const SymbolId* const known = symbols_.find(bytes)) return *known;
  const auto symbol = n_tokens_ + static_cast<SymbolId>(extra_bytes_.size());
  symbols_.try_emplace(extra_bytes_.emplace_back(bytes), symbol);
  return symbol;
}

const BpeModel::Merge* BpeModel::find_merge(SymbolId left, SymbolId right) const noexcept {
  return merges_.find(pair_key(left, right));
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
  Merger merger(*this);
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    const std::string_view word = text.substr(begin, end - begin);
    begin = end;
    if (pre_tokenizer_.ignore_merges()) {
      const SymbolId* const whole = symbols_.find(word);
      if (whole != nullptr && is_token(*whole)) {
        out.push_back(*whole);
        continue;
      }
    }
    merger.append_word(word, out);
  }
  return {};
}

}  // namespace inlay
