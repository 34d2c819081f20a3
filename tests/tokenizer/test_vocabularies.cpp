#include <doctest/doctest.h>

#include "tokenizer/vocabularies.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

/// Whether decode gives the text back, as Tokenizer::Impl promises it.
bool may_lose(const std::string& vocabulary_name, const std::string& text) {
  const bool sentence_piece = vocabulary_name == "llama-spm" || vocabulary_name == "phi-3";
  if (sentence_piece) return text.find("\xE2\x96\x81") != std::string::npos;  // U+2581
  if (vocabulary_name != "smollm") return false;
  // Bytes without a token in this vocabulary: some control characters, and the lead bytes of planes 4 to 12.
  return text.find_first_of("\x04\x06\x13\x14\x16\x1d\xf1\xf2") != std::string::npos;
}

TEST_CASE("the records of the original tokenizers: same ids, and decode gives the text back") {
  std::size_t n_checked = 0;
  for (const std::string name : {"llama-spm", "llama-bpe", "phi-3", "qwen2", "gpt-2"}) {
    const Tokenizer tokenizer = vocabulary(name);
    const auto texts = read_texts("records.inp");
    const auto expected = read_ids("records-" + name + ".out");
    REQUIRE(texts.size() == expected.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      INFO(name << " record " << i << ": " << texts[i]);
      const auto tokens = tokenizer.encode(texts[i], kPlain);
      REQUIRE(tokens.ok());
      CHECK(to_text(*tokens) == to_text(expected[i].plain));
      CHECK(*tokenizer.decode(*tokens) == texts[i]);
      const auto with_special = tokenizer.encode(texts[i]);
      CHECK(*tokenizer.decode(*with_special) == texts[i]);
      ++n_checked;
    }
  }
  MESSAGE(n_checked << " records of 5 vocabularies matched and came back");
  CHECK(n_checked >= 5 * 40);
}

void check_goldens(const std::string& name, const Tokenizer& tokenizer, const std::string& file) {
  const auto texts = read_texts("goldens.inp");
  const auto expected = read_ids(file);
  REQUIRE(texts.size() == expected.size());
  std::size_t n_parsed = 0;
  std::size_t n_lossy = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    INFO(file << " text " << i << ": " << texts[i]);
    const auto plain = tokenizer.encode(texts[i], kPlain);
    const auto parsed = tokenizer.encode(texts[i], kParsed);
    REQUIRE(plain.ok());
    REQUIRE(parsed.ok());
    CHECK(to_text(*plain) == to_text(expected[i].plain));
    CHECK(to_text(*parsed) == to_text(expected[i].parsed));
    const bool came_back = *tokenizer.decode(*plain) == texts[i];
    CHECK(came_back != may_lose(name, texts[i]));
    if (*plain != *parsed) ++n_parsed;
    if (!came_back) ++n_lossy;
  }
  MESSAGE(file << ": " << texts.size() << " texts, " << n_parsed << " with special tokens, " << texts.size() - n_lossy
               << " came back");
  CHECK(n_parsed > 0);
}

TEST_CASE("goldens: the ids that llama.cpp gives, with and without special tokens parsed") {
  for (const std::string& name : vocabulary_names()) check_goldens(name, vocabulary(name), "goldens-" + name + ".out");
  check_goldens("gpt-2", vocabulary("gpt-2", "default"), "goldens-gpt-2-default.out");
}

TEST_CASE("names that share a pre-tokenizer give the same ids") {
  const std::string text = read_vocab_file("records.inp");
  const auto ids_with = [&](const std::string& pre) {
    return *vocabulary("gpt-2", pre).encode(text, {AddSpecial::kNo, ParseSpecial::kNo});
  };
  for (const char* const name : {"llama3", "llama-v3", "dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}) {
    CHECK(ids_with(name) == ids_with("llama-bpe"));
  }
  for (const char* const name : {"deepseek-r1-qwen", "megrez", "stablelm2"}) CHECK(ids_with(name) == ids_with("qwen2"));
  for (const char* const name : {"phi-2", "mpt", "olmo"}) CHECK(ids_with(name) == ids_with("gpt-2"));
  for (const char* const name : {"starcoder", "refact", "codeshell", "command-r"}) {
    CHECK(ids_with(name) == ids_with("smollm"));
  }
  CHECK(ids_with("llama-bpe") != ids_with("qwen2"));
  CHECK(ids_with("gpt-2") != ids_with("smollm"));
  CHECK(ids_with("gpt-2") != ids_with("default"));
}

}  // namespace
