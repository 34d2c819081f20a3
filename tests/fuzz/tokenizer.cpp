// A vocabulary and a text from the input: the vocabulary is refused by name, or whatever the text, its tokens are of
// the vocabulary and give the text back where that is promised (lib/tokenizer/impl.hpp).
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/input.hpp"
#include "tokenizer/byte_alphabet.hpp"
#include "tokenizer/impl.hpp"

namespace {

using namespace inlay;
using fuzz::demand;
using fuzz::Input;

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
constexpr std::size_t kMaxPieces = 24;
constexpr std::size_t kMaxPieceBytes = 24;
constexpr std::size_t kMaxText = 255;

constexpr std::int64_t kNormal = 1;
constexpr std::int64_t kUnknown = 2;
constexpr std::int64_t kControl = 3;
constexpr std::int64_t kByte = 6;

constexpr std::array<std::string_view, 8> kPreTokenizers = {"",          "default", "gpt-2", "smollm",
                                                            "llama-bpe", "qwen2",   "dbrx",  "none"};
constexpr std::array<std::string_view, 4> kModelNames = {"", "Phi-3", "phi3 mini", "Tiny"};

/// What a VocabData views.
struct Vocabulary {
  std::vector<std::string> pieces;
  std::vector<std::int64_t> types;
  std::vector<float> scores;
  std::vector<std::string> merges;
  VocabData data;
  bool has_all_bytes = false;

  void add(std::string piece, std::int64_t type, float score) {
    pieces.push_back(std::move(piece));
    types.push_back(type);
    scores.push_back(score);
  }
};

std::string byte_name(unsigned byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
}

/// Tokens that every text can be made of, or some.
void add_first_pieces(Vocabulary& vocabulary, bool is_spm) {
  const unsigned n_bytes = vocabulary.has_all_bytes ? 256 : 0;
  if (is_spm) {
    vocabulary.add("<unk>", kUnknown, 0);
    vocabulary.add("<s>", kControl, 0);
    vocabulary.add("</s>", kControl, 0);
    vocabulary.add(std::string(kSpaceMark), kNormal, -1);
    for (unsigned byte = 0; byte < n_bytes; ++byte) vocabulary.add(byte_name(byte), kByte, 0);
    return;
  }
  vocabulary.add("a", kNormal, 0);
  vocabulary.add("b", kNormal, 0);
  for (unsigned byte = 0; byte < n_bytes; ++byte) {
    std::string piece;
    append_alphabet_character(static_cast<unsigned char>(byte), piece);
    vocabulary.add(piece, kNormal, 0);
  }
}

/// Longer and longer pieces are made of earlier ones: random bytes alone would never merge.
std::string make_piece(Input& input, const Vocabulary& vocabulary) {
  if (!input.one_in(2)) return std::string(input.text(kMaxPieceBytes));
  const std::size_t n = vocabulary.pieces.size();
  return vocabulary.pieces[input.number<std::uint16_t>() % n] + vocabulary.pieces[input.number<std::uint16_t>() % n];
}

void add_pieces(Input& input, Vocabulary& vocabulary) {
  for (std::size_t n = input.below(kMaxPieces); n > 0; --n) {
    std::string piece = make_piece(input, vocabulary);
    const std::size_t type = input.below(9);
    const float score = input.one_in(8) ? input.number<float>() : static_cast<float>(input.number<std::int8_t>());
    vocabulary.add(std::move(piece), static_cast<std::int64_t>(type) - (type == 8 ? 9 : 0), score);
  }
}

void add_merges(Input& input, Vocabulary& vocabulary) {
  const std::size_t n = vocabulary.pieces.size();
  for (std::size_t i = input.below(kMaxPieces); i > 0; --i) {
    if (input.one_in(8)) {
      vocabulary.merges.emplace_back(input.text(kMaxPieceBytes));
    } else {
      const std::string& left = vocabulary.pieces[input.number<std::uint16_t>() % n];
      vocabulary.merges.push_back(left + " " + vocabulary.pieces[input.number<std::uint16_t>() % n]);
    }
  }
}

void read_id(Input& input, std::optional<std::int64_t>& id) {
  const std::size_t kind = input.below(8);
  if (kind == 1) id = input.number<std::int64_t>();
  if (kind == 2) id = input.number<std::int16_t>();
}

void read_flag(Input& input, std::optional<bool>& flag) {
  const std::size_t kind = input.below(4);
  if (kind < 2) flag = kind == 1;
}

/// Lists that do not belong together: one more or less than there are pieces, or none at all.
template <class T>
std::optional<std::vector<T>> take_list(Input& input, std::vector<T> list) {
  const std::size_t kind = input.below(32);
  if (kind == 1) return std::nullopt;
  if (kind == 2 && !list.empty()) list.pop_back();
  if (kind == 3) list.emplace_back();
  return list;
}

Vocabulary make_vocabulary(Input& input) {
  Vocabulary vocabulary;
  VocabData& data = vocabulary.data;
  const bool is_spm = input.below(2) == 0;
  data.model = is_spm ? "llama" : "gpt2";
  data.pre = kPreTokenizers[input.below(kPreTokenizers.size())];
  data.model_name = kModelNames[input.below(kModelNames.size())];
  vocabulary.has_all_bytes = !input.one_in(4);
  add_first_pieces(vocabulary, is_spm);
  add_pieces(input, vocabulary);
  if (!is_spm) add_merges(input, vocabulary);
  for (auto* const id : {&data.bos, &data.eos, &data.eot, &data.eom, &data.unknown, &data.padding}) read_id(input, *id);
  for (auto* const flag : {&data.add_bos, &data.add_eos, &data.add_space_prefix}) read_flag(input, *flag);
  data.pieces.assign(vocabulary.pieces.begin(), vocabulary.pieces.end());
  data.types = take_list(input, vocabulary.types);
  data.scores = take_list(input, vocabulary.scores);
  data.merges = take_list(input, std::vector<std::string_view>(vocabulary.merges.begin(), vocabulary.merges.end()));
  return vocabulary;
}

bool is_token_or_none(const Tokenizer& tokenizer, TokenId token) {
  return token >= -1 && token < tokenizer.vocab_size();
}

void check_vocabulary(const Tokenizer& tokenizer, const Vocabulary& vocabulary) {
  demand(tokenizer.vocab_size() == static_cast<int>(vocabulary.pieces.size()), "every piece is a token");
  demand(is_token_or_none(tokenizer, tokenizer.bos()) && is_token_or_none(tokenizer, tokenizer.eos()),
         "special tokens are of the vocabulary");
  for (const TokenId outside : {-1, tokenizer.vocab_size(), INT32_MIN, INT32_MAX}) {
    demand(!tokenizer.is_end_of_generation(outside), "no id outside the vocabulary ends a generation");
    demand(tokenizer.piece(outside).code() == StatusCode::kInvalidArgument, "an id outside has no piece");
    demand(tokenizer.decode({0, outside}).code() == StatusCode::kInvalidArgument, "an id outside has no text");
  }
}

/// The text as a decoded one can be: both spellings of a space are one.
std::string with_plain_spaces(std::string_view text) {
  std::string plain;
  for (auto at = text.find(kSpaceMark); at != std::string_view::npos; at = text.find(kSpaceMark)) {
    plain.append(text.substr(0, at)).append(" ");
    text.remove_prefix(at + kSpaceMark.size());
  }
  return plain.append(text);
}

/// Whether impl.hpp promises the text back: the vocabulary knows every byte, and no token swallows white space.
bool comes_back(const Vocabulary& vocabulary) {
  const std::string_view name = vocabulary.data.model_name;
  return vocabulary.has_all_bytes && vocabulary.data.types && (name.empty() || name == "Tiny");
}

void check_text(const Tokenizer& tokenizer, const Vocabulary& vocabulary, std::string_view text,
                EncodeOptions options) {
  const auto tokens = tokenizer.encode(text, options);
  demand(tokens.ok(), "any text has tokens");
  std::size_t n_bytes = 0;
  for (const TokenId token : *tokens) {
    demand(token >= 0 && token < tokenizer.vocab_size(), "a token of a text is of the vocabulary");
    const auto piece = tokenizer.piece(token, RenderSpecial::kYes);
    demand(piece.ok(), "a token has a piece");
    n_bytes += piece->size();
  }
  const auto shown = tokenizer.decode(*tokens, RenderSpecial::kYes);
  const auto plain = tokenizer.decode(*tokens, RenderSpecial::kNo);
  demand(shown.ok() && plain.ok(), "tokens have a text");
  demand(plain->size() <= shown->size() && shown->size() <= n_bytes, "a text is no longer than its pieces");
  if (options.add_special == AddSpecial::kYes || !comes_back(vocabulary)) return;
  demand(with_plain_spaces(*shown) == with_plain_spaces(text), "a text comes back");
  if (vocabulary.data.model == "gpt2") demand(*shown == text, "a text comes back byte for byte");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  Input input(bytes, size);
  const Vocabulary vocabulary = make_vocabulary(input);
  const auto made = Tokenizer::Impl::make(vocabulary.data);
  if (!made.ok()) {
    demand(made.code() == StatusCode::kInvalidModel || made.code() == StatusCode::kUnsupported,
           "a bad vocabulary is an invalid model or an unsupported one");
    demand(made.status().message().find("tokenizer.ggml.") == 0, "a refusal names the key");
    return 0;
  }
  const Tokenizer tokenizer(*made);
  check_vocabulary(tokenizer, vocabulary);
  do {
    const std::string_view text = input.text(kMaxText);
    for (const AddSpecial add_special : {AddSpecial::kNo, AddSpecial::kYes}) {
      for (const ParseSpecial parse_special : {ParseSpecial::kNo, ParseSpecial::kYes}) {
        check_text(tokenizer, vocabulary, text, {add_special, parse_special});
      }
    }
  } while (!input.at_end());
  return 0;
}
