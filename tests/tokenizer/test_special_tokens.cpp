#include <doctest/doctest.h>

#include "tokenizer/vocabularies.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;
using Ids = std::vector<TokenId>;

TEST_CASE("ids that every vocabulary adds around a text, and ids with a role") {
  struct Row {
    std::string name;
    Ids around_nothing;
    TokenId bos;
    TokenId eos;
    Ids ends;
  };
  const std::vector<Row> rows = {
      {"llama-spm", {1}, 1, 2, {2}},
      {"phi-3", {1}, 1, 32000, {2, 32000, 32007}},
      {"llama-bpe", {128000}, 128000, 128001, {128001, 128009}},
      {"qwen2", {}, 151643, 151643, {151643, 151645}},
      {"gpt-2", {}, 50256, 50256, {50256}},
      {"smollm", {}, 1, 2, {0, 2}},
  };
  for (const Row& row : rows) {
    INFO(row.name);
    const Tokenizer tokenizer = vocabulary(row.name);
    CHECK(*tokenizer.encode("") == row.around_nothing);
    CHECK(tokenizer.bos() == row.bos);
    CHECK(tokenizer.eos() == row.eos);
    Ids ends;
    for (TokenId token = 0; token < tokenizer.vocab_size(); ++token) {
      if (tokenizer.is_end_of_generation(token)) ends.push_back(token);
    }
    CHECK(to_text(ends) == to_text(row.ends));
    CHECK_FALSE(tokenizer.is_end_of_generation(-1));
    CHECK_FALSE(tokenizer.is_end_of_generation(tokenizer.vocab_size()));
  }
  MESSAGE(rows.size() << " vocabularies");
}

TEST_CASE("special tokens are read on request only, and shown on request only") {
  const Tokenizer tokenizer = vocabulary("smollm");
  const std::string chat = "<|im_start|>user\nHi<|im_end|>\n";
  const auto parsed = *tokenizer.encode(chat, kParsed);
  const auto plain = *tokenizer.encode(chat, kPlain);
  CHECK(parsed.front() == 1);
  CHECK(plain.front() != 1);
  CHECK(plain.size() > parsed.size());
  CHECK(*tokenizer.decode(parsed, RenderSpecial::kYes) == chat);
  CHECK(*tokenizer.decode(parsed) == "user\nHi\n");
  CHECK(*tokenizer.decode(plain) == chat);
  CHECK(*tokenizer.piece(1, RenderSpecial::kYes) == "<|im_start|>");
  CHECK(tokenizer.piece(1)->empty());
}

TEST_CASE("SentencePiece: a text after a special token begins like a word, and decode undoes that") {
  const Tokenizer tokenizer = vocabulary("llama-spm");
  CHECK(*tokenizer.encode("a<s> b", kParsed) == Ids{263, 1, 29871, 289});
  for (const std::string text : {"<s>x", "<s> x", "<s>  x", " <s> ", "a<s></s>b", "</s>", "  a", "a<s>\n</s> \t"}) {
    INFO(text);
    CHECK(*tokenizer.decode(*tokenizer.encode(text, kParsed), RenderSpecial::kYes) == text);
  }
  CHECK(*tokenizer.decode(*tokenizer.encode(" a<s> b", kParsed)) == " a b");
  CHECK(*tokenizer.piece(263) == " a");  // a piece alone keeps its space
}

TEST_CASE("Phi-3: special tokens swallow the white space after them, three of them do not") {
  const Tokenizer tokenizer = vocabulary("phi-3");
  CHECK(*tokenizer.encode("<|user|>\n hi <|end|>\n<|assistant|>\n", kParsed) == Ids{32010, 7251, 29871, 32007, 32001});
  CHECK(*tokenizer.encode("</s> x", kParsed) == Ids{2, 921});
  CHECK(*tokenizer.encode("</s> x", kPlain) == Ids{1533, 29879, 29958, 921});
  CHECK(*tokenizer.encode("<|endoftext|> x", kParsed) == Ids{32000, 29871, 921});
}

TEST_CASE("user-defined tokens are read from any text") {
  const Tokenizer tokenizer = vocabulary("qwen2");
  CHECK(*tokenizer.encode("[PAD151646]  q", kPlain) == Ids{151646, 220, 2804});
  // An ordinary piece that reads like the end of sequence of other models is ordinary text.
  CHECK(*tokenizer.encode("</s>", kParsed) == Ids{522, 82, 29});
  CHECK(*tokenizer.decode({128247}) == "</s>");
}

TEST_CASE("ids outside the vocabulary are refused by number") {
  const Tokenizer tokenizer = vocabulary("gpt-2");
  for (const TokenId token : {-1, 50257, INT32_MIN, INT32_MAX}) {
    const auto piece = tokenizer.piece(token);
    CHECK(piece.code() == StatusCode::kInvalidArgument);
    CHECK(piece.status().message().find("token " + std::to_string(token)) != std::string::npos);
    CHECK(tokenizer.decode({0, token}).code() == StatusCode::kInvalidArgument);
  }
}

}  // namespace
