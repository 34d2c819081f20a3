#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <random>

#include "gguf/gguf.hpp"
#include "gguf/writer.hpp"
#include "tokenizer/byte_alphabet.hpp"
#include "tokenizer/impl.hpp"
#include "tokenizer/tokenizer.hpp"

namespace {

using namespace inlay;

std::string byte_name(int byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[static_cast<std::size_t>(byte / 16)], kDigits[static_cast<std::size_t>(byte % 16)],
          '>'};
}

/// What a small vocabulary is made of; VocabData views it.
struct Metadata {
  std::string model;
  std::string pre;
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<std::int64_t> types;
  std::vector<std::string> merges;

  void add(std::string piece, std::int64_t type, float score = 0) {
    pieces.push_back(std::move(piece));
    types.push_back(type);
    scores.push_back(score);
  }

  [[nodiscard]] VocabData data() const {
    VocabData data;
    data.model = model;
    data.pre = pre;
    data.pieces.assign(pieces.begin(), pieces.end());
    data.types = types;
    if (model == "llama") {
      data.scores = scores;
    } else {
      data.merges.emplace(merges.begin(), merges.end());
    }
    return data;
  }
};

Metadata small_spm() {
  Metadata metadata{"llama", "default", {}, {}, {}, {}};
  metadata.add("<unk>", 2);
  metadata.add("<s>", 3);
  metadata.add("</s>", 3);
  for (int byte = 0; byte < 256; ++byte) metadata.add(byte_name(byte), 6);
  metadata.add("\xE2\x96\x81", 1, -1);
  metadata.add("a", 1, -2);
  metadata.add(
      "\xE2\x96\x81"
      "a",
      1, -3);
  return metadata;
}

Metadata small_bpe() {
  Metadata metadata{"gpt2", "gpt-2", {}, {}, {}, {"a b", "ab c", "Ġ a"}};
  for (int byte = 0; byte < 256; ++byte) {
    std::string piece;
    append_alphabet_character(static_cast<unsigned char>(byte), piece);
    metadata.add(piece, 1);
  }
  for (const char* const piece : {"ab", "abc", "Ġa"}) metadata.add(piece, 1);
  metadata.add("<|endoftext|>", 3);
  return metadata;
}

TEST_CASE("the small vocabularies that the other cases damage are good") {
  const auto spm = Tokenizer::Impl::make(small_spm().data());
  REQUIRE(spm.ok());
  CHECK(*Tokenizer(*spm).encode("a a") == std::vector<TokenId>{1, 261, 261});
  const auto bpe = Tokenizer::Impl::make(small_bpe().data());
  REQUIRE(bpe.ok());
  CHECK(*Tokenizer(*bpe).encode("abc a") == std::vector<TokenId>{257, 258});
}

struct Damage {
  std::string what;
  std::function<void(VocabData&)> apply;
  StatusCode code;
  std::string message;  // a part of it
};

void check_refused(const Metadata& metadata, const std::vector<Damage>& damages) {
  for (const Damage& damage : damages) {
    INFO(metadata.model << ": " << damage.what);
    VocabData data = metadata.data();
    damage.apply(data);
    const auto made = Tokenizer::Impl::make(data);
    CHECK(made.code() == damage.code);
    const std::string message = made.status().message();
    CHECK_MESSAGE(message.find(damage.message) != std::string::npos, message);
  }
  MESSAGE(damages.size() << " damages of a " << metadata.model << " vocabulary refused by name");
}

TEST_CASE("contradictions in any vocabulary are refused by key") {
  constexpr auto kInvalid = StatusCode::kInvalidModel;
  const std::string long_piece(9000, 'x');
  const std::vector<Damage> damages = {
      {"no pieces", [](VocabData& d) { d.pieces.clear(); }, kInvalid, "tokenizer.ggml.tokens: the vocabulary is empty"},
      {"too many pieces", [](VocabData& d) { d.pieces.resize((1 << 22) + 1, "x"); }, kInvalid,
       "tokenizer.ggml.tokens: expected at most 4194304 tokens, found 4194305"},
      {"a huge piece",
       [&](VocabData& d) {
         d.pieces[7] = long_piece;
         d.types->at(7) = 1;
       },
       kInvalid, "tokenizer.ggml.tokens: entry 7: expected at most 8192 bytes, found 9000"},
      {"too few types", [](VocabData& d) { d.types->pop_back(); }, kInvalid, "tokenizer.ggml.token_type: expected 26"},
      {"too many types", [](VocabData& d) { d.types->push_back(1); }, kInvalid, "tokenizer.ggml.token_type: expected"},
      {"no such type", [](VocabData& d) { d.types->at(5) = 7; }, kInvalid,
       "tokenizer.ggml.token_type: entry 5: expected 0 to 6, found 7"},
      {"a negative type", [](VocabData& d) { d.types->at(5) = -1; }, kInvalid, "entry 5: expected 0 to 6, found -1"},
      {"a byte token without a byte", [](VocabData& d) { d.types->at(d.pieces.size() - 2) = 6; }, kInvalid,
       "a byte token is expected to read \"<0xXX>\""},
      {"bos beyond the end", [](VocabData& d) { d.bos = 1000000; }, kInvalid,
       "tokenizer.ggml.bos_token_id: expected an id below the vocabulary's size 26"},
      {"eos negative", [](VocabData& d) { d.eos = -1; }, kInvalid, "tokenizer.ggml.eos_token_id"},
      {"eot beyond the end", [](VocabData& d) { d.eot = 4294967295; }, kInvalid, "tokenizer.ggml.eot_token_id"},
      {"eom beyond the end", [](VocabData& d) { d.eom = INT64_MAX; }, kInvalid, "tokenizer.ggml.eom_token_id"},
      {"unknown beyond the end", [](VocabData& d) { d.unknown = 262144; }, kInvalid, "tokenizer.ggml.unknown_token_id"},
      {"padding negative", [](VocabData& d) { d.padding = INT64_MIN; }, kInvalid, "tokenizer.ggml.padding_token_id"},
      {"a model of another kind", [](VocabData& d) { d.model = "bert"; }, StatusCode::kUnsupported,
       "tokenizer.ggml.model: expected \"llama\" or \"gpt2\", found \"bert\""},
  };
  check_refused(small_spm(), damages);
  check_refused(small_bpe(), damages);
}

TEST_CASE("contradictions in a SentencePiece vocabulary") {
  constexpr auto kInvalid = StatusCode::kInvalidModel;
  check_refused(small_spm(),
                {{"no scores", [](VocabData& d) { d.scores.reset(); }, kInvalid, "tokenizer.ggml.scores: missing"},
                 {"too few scores", [](VocabData& d) { d.scores->resize(3); }, kInvalid,
                  "tokenizer.ggml.scores: expected 262 entries, found 3"},
                 {"a score that is no number", [](VocabData& d) { d.scores->at(9) = std::nanf(""); }, kInvalid,
                  "tokenizer.ggml.scores: entry 9 is not a number"},
                 {"a byte token is missing", [](VocabData& d) { d.pieces[3 + 0x41] = d.pieces[3]; }, kInvalid,
                  "tokenizer.ggml.tokens: the byte token \"<0x41>\" is missing"},
                 {"neither byte tokens nor an unknown token", [](VocabData& d) { d.types->assign(262, 1); }, kInvalid,
                  "tokenizer.ggml.tokens: the byte token \"<0x00>\" is missing"},
                 {"a begin that is nowhere",
                  [](VocabData& d) {
                    d.types->at(1) = 1;
                    d.add_bos = true;
                  },
                  kInvalid, "tokenizer.ggml.add_bos_token: true, but tokenizer.ggml.bos_token_id is missing"}});
}

TEST_CASE("contradictions in a byte-level vocabulary") {
  constexpr auto kInvalid = StatusCode::kInvalidModel;
  const auto merge_is = [](const char* merge) { return [merge](VocabData& d) { d.merges->at(1) = merge; }; };
  check_refused(small_bpe(),
                {{"no merges", [](VocabData& d) { d.merges.reset(); }, kInvalid, "tokenizer.ggml.merges: missing"},
                 {"too many merges", [](VocabData& d) { d.merges->resize((1 << 23) + 1, "a b"); }, kInvalid,
                  "tokenizer.ggml.merges: expected at most 8388608 merges"},
                 {"an empty merge", merge_is(""), kInvalid, "tokenizer.ggml.merges: entry 1: expected two pieces"},
                 {"a merge of one", merge_is("abc"), kInvalid, "tokenizer.ggml.merges: entry 1"},
                 {"a merge without a left", merge_is(" b"), kInvalid, "tokenizer.ggml.merges: entry 1"},
                 {"a merge without a right", merge_is("a "), kInvalid, "tokenizer.ggml.merges: entry 1"},
                 {"a merge of three", merge_is("a b c"), kInvalid, "tokenizer.ggml.merges: entry 1"},
                 {"no pre-tokenizer of that name", [](VocabData& d) { d.pre = "no-such"; }, StatusCode::kUnsupported,
                  "tokenizer.ggml.pre: unknown pre-tokenizer \"no-such\""},
                 {"not a byte-level vocabulary", [](VocabData& d) { d.types->assign(260, 3); }, kInvalid,
                  "tokenizer.ggml.tokens: not a byte-level vocabulary"},
                 {"an end that is nowhere", [](VocabData& d) { d.add_eos = true; }, kInvalid,
                  "tokenizer.ggml.add_eos_token: true, but tokenizer.ggml.eos_token_id is missing"}});
}

TEST_CASE("oddities that real files have are accepted") {
  Metadata spm = small_spm();
  spm.add("a", 1, 5);  // a second time: the first counts
  spm.add("", 1);
  const auto doubled = Tokenizer::Impl::make(spm.data());
  REQUIRE(doubled.ok());
  CHECK(*Tokenizer(*doubled).encode("aa", {AddSpecial::kNo, ParseSpecial::kNo}) == std::vector<TokenId>{261, 260});

  const Metadata typed = small_spm();
  VocabData untyped = typed.data();
  untyped.types.reset();
  untyped.bos = 1;
  const auto without_types = Tokenizer::Impl::make(untyped);
  REQUIRE(without_types.ok());
  CHECK(*Tokenizer(*without_types).decode(*Tokenizer(*without_types).encode("b")) == "<s> b");  // typed: "b"

  Metadata no_bytes{"llama", "", {}, {}, {}, {}};
  no_bytes.add("<unk>", 2);
  no_bytes.add("a", 1);
  const auto unknown = Tokenizer::Impl::make(no_bytes.data());
  REQUIRE(unknown.ok());
  CHECK(*Tokenizer(*unknown).encode("aba") == std::vector<TokenId>{0, 1, 0, 1});

  Metadata bpe = small_bpe();
  bpe.pre.clear();                                                 // "default"
  bpe.merges.insert(bpe.merges.begin(), {"x y", "世 界", "a b"});  // their results are no tokens, or never happen
  const auto odd = Tokenizer::Impl::make(bpe.data());
  REQUIRE(odd.ok());
  CHECK(*Tokenizer(*odd).encode("xyabc") == *Tokenizer(*Tokenizer::Impl::make(small_bpe().data())).encode("xyabc"));
}

TEST_CASE("plain text never becomes a control token, even where the merges lead to one") {
  Metadata bpe = small_bpe();
  bpe.add("xyz", 3);
  bpe.merges.insert(bpe.merges.end(), {"x y", "xy z"});
  for (const char* const pre : {"gpt-2", "llama-bpe"}) {
    bpe.pre = pre;
    const Tokenizer tokenizer(*Tokenizer::Impl::make(bpe.data()));
    CHECK(tokenizer.encode("xyz", {AddSpecial::kNo, ParseSpecial::kNo})->size() == 3);
    CHECK(*tokenizer.encode("xyz", {AddSpecial::kNo, ParseSpecial::kYes}) == std::vector<TokenId>{260});
  }
  Metadata spm = small_spm();
  spm.add("aa", 3);
  const Tokenizer tokenizer(*Tokenizer::Impl::make(spm.data()));
  CHECK(*tokenizer.encode("aa", {AddSpecial::kNo, ParseSpecial::kNo}) == std::vector<TokenId>{261, 260});
}

TEST_CASE("the longest special token wins, wherever it stands") {
  Metadata bpe = small_bpe();
  bpe.add("[ab", 4);   // 260
  bpe.add("b]cd", 4);  // 261
  bpe.add("[a", 4);    // 262
  const Tokenizer tokenizer(*Tokenizer::Impl::make(bpe.data()));
  CHECK(*tokenizer.encode("[ab]cd") == std::vector<TokenId>{262, 261});
  CHECK(*tokenizer.encode("[ab[a") == std::vector<TokenId>{260, 262});
}

gguf::Writer small_writer() {
  const Metadata metadata = small_spm();
  gguf::Writer writer;
  writer.add_string("tokenizer.ggml.model", "llama");
  writer.add_strings("tokenizer.ggml.tokens", metadata.pieces);
  writer.add_float32s("tokenizer.ggml.scores", metadata.scores);
  const std::vector<std::int32_t> types(metadata.types.begin(), metadata.types.end());
  writer.add_int32s("tokenizer.ggml.token_type", types);
  return writer;
}

Result<std::shared_ptr<const Tokenizer::Impl>> load(const gguf::Writer& writer) {
  const auto bytes = writer.finish();
  const auto file = gguf::File::parse(bytes);
  REQUIRE_MESSAGE(file.ok(), file.status().message());
  return load_tokenizer(*file);
}

TEST_CASE("files: absent keys and values of the wrong type are refused by key") {
  CHECK(load(small_writer()).ok());
  const auto check_message = [](const gguf::Writer& writer, const char* part) {
    const auto loaded = load(writer);
    CHECK(loaded.code() == StatusCode::kInvalidModel);
    CHECK_MESSAGE(loaded.status().message().find(part) != std::string::npos, loaded.status().message());
  };
  check_message(gguf::Writer(), "tokenizer.ggml.model");
  gguf::Writer only_model;
  only_model.add_string("tokenizer.ggml.model", "llama");
  check_message(only_model, "tokenizer.ggml.tokens: missing");

  const std::vector<std::pair<const char*, std::function<void(gguf::Writer&, const char*)>>> wrong = {
      {"tokenizer.ggml.pre", [](auto& w, const char* key) { w.add_uint32(key, 1); }},
      {"tokenizer.ggml.merges", [](auto& w, const char* key) { w.add_string(key, "a b"); }},
      {"tokenizer.ggml.bos_token_id", [](auto& w, const char* key) { w.add_string(key, "1"); }},
      {"tokenizer.ggml.eos_token_id", [](auto& w, const char* key) { w.add_float32(key, 2); }},
      {"tokenizer.ggml.unknown_token_id", [](auto& w, const char* key) { w.add_uint64(key, UINT64_MAX); }},
      {"tokenizer.ggml.add_bos_token", [](auto& w, const char* key) { w.add_uint32(key, 1); }},
      {"tokenizer.ggml.add_eos_token", [](auto& w, const char* key) { w.add_string(key, "true"); }},
      {"tokenizer.ggml.add_space_prefix", [](auto& w, const char* key) { w.add_float32(key, 1); }},
  };
  for (const auto& [key, add] : wrong) {
    gguf::Writer writer = small_writer();
    add(writer, key);
    check_message(writer, key);
  }
  gguf::Writer tokens_are_numbers;
  tokens_are_numbers.add_string("tokenizer.ggml.model", "llama");
  tokens_are_numbers.add_int32s("tokenizer.ggml.tokens", std::vector<std::int32_t>{1, 2});
  check_message(tokens_are_numbers, "tokenizer.ggml.tokens");
  MESSAGE((wrong.size() + 3) << " files refused by key");
}

TEST_CASE("random damage: refused or usable, never worse") {
  std::mt19937 random(5);
  std::size_t n_usable = 0;
  const std::vector<Metadata> bases = {small_spm(), small_bpe()};
  for (int round = 0; round < 3000; ++round) {
    Metadata metadata = bases[random() % bases.size()];
    for (std::size_t n = random() % 4; n > 0; --n) {
      const std::size_t i = random() % metadata.pieces.size();
      switch (random() % 5) {
        case 0:
          metadata.types[i] = static_cast<std::int64_t>(random() % 8);
          break;
        case 1:
          metadata.pieces[i] = metadata.pieces[random() % metadata.pieces.size()] + "a";
          break;
        case 2:
          metadata.pieces[i].assign(random() % 3, static_cast<char>(random() % 256));
          break;
        case 3:
          metadata.scores[i] = random() % 2 == 0 ? INFINITY : -INFINITY;
          break;
        default:
          metadata.merges.push_back(metadata.pieces[i] + " " + metadata.pieces[random() % 200]);
          break;
      }
    }
    const auto made = Tokenizer::Impl::make(metadata.data());
    if (!made) {
      REQUIRE_FALSE(made.status().message().empty());
      continue;
    }
    ++n_usable;
    const Tokenizer tokenizer(*made);
    const auto tokens =
        tokenizer.encode("abc a\xFF \xE4\xB8\x96 <s>12  a<|endoftext|>", {AddSpecial::kYes, ParseSpecial::kYes});
    REQUIRE(tokens.ok());
    REQUIRE(tokenizer.decode(*tokens, RenderSpecial::kYes).ok());
  }
  MESSAGE(n_usable << " of 3000 damaged vocabularies usable");
  CHECK(n_usable > 300);
  CHECK(n_usable < 2900);
}

}  // namespace
