#include <doctest/doctest.h>

#include <chrono>
#include <random>
#include <thread>

#include "tokenizer/vocabularies.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

// Far above what is measured (half a second for a megabyte), far below what anything quadratic would take; leaves room
// for sanitizers and busy machines.
constexpr double kLongTextLimitS = 30;

constexpr std::size_t kMegabyte = 1 << 20;

std::string repeat(std::string_view unit, std::size_t size) {
  std::string text;
  while (text.size() < size) text += unit;
  return text;
}

/// Every byte alone, cut and overlong characters, surrogates, and random bytes among text.
std::vector<std::string> broken_texts() {
  std::vector<std::string> texts = {"\xFF\xFE",         "a\xC3",
                                    "\xE2\x96",         "\xED\xA0\x80\xED\xB0\x80 x",
                                    "\xC0\xAF\xF8\x88", "ok \xF0\x9F\x9A then \xF0\x9F\x9A\x80",
                                    "\x80\x80\x80",     "caf\xE9 na\xEFve"};
  for (int byte = 0; byte < 256; ++byte) texts.push_back("x " + std::string(1, static_cast<char>(byte)) + "y");
  std::mt19937 random(11);
  for (int i = 0; i < 300; ++i) {
    std::string text;
    const std::size_t size = random() % 60;
    for (std::size_t k = 0; k < size; ++k) {
      text += random() % 3 == 0 ? static_cast<char>(random() % 256) : "the 1 'll\n"[random() % 10];
    }
    texts.push_back(text);
  }
  return texts;
}

TEST_CASE("bytes that are not UTF-8 come back as they were") {
  std::size_t n_checked = 0;
  const auto texts = broken_texts();
  for (const std::string& name : vocabulary_names()) {
    if (name == "smollm") continue;  // has no tokens for some bytes
    const Tokenizer tokenizer = vocabulary(name);
    for (const std::string& text : texts) {
      if (!round_trips(tokenizer, text)) FAIL_CHECK(name << ": " << text);
      ++n_checked;
    }
  }
  MESSAGE(n_checked << " texts");
}

TEST_CASE("a byte for which a vocabulary has no token is left out, the rest stays") {
  const Tokenizer tokenizer = vocabulary("smollm");
  CHECK(*tokenizer.decode(*tokenizer.encode("a\x04"
                                            "b\xFF!",
                                            kPlain)) == "ab!");
  CHECK(tokenizer.encode("\x04\x06\xFF", kPlain)->empty());
}

TEST_CASE("random texts of many scripts come back, whatever their special tokens") {
  std::mt19937 random(3);
  const std::string alphabet = read_vocab_file("goldens.inp") + read_vocab_file("records.inp");
  std::size_t n_checked = 0;
  for (const std::string& name : vocabulary_names()) {
    const Tokenizer tokenizer = vocabulary(name);
    for (int i = 0; i < 400; ++i) {
      std::string text;
      for (std::size_t parts = random() % 8; parts > 0; --parts) {
        text += alphabet.substr(random() % alphabet.size(), random() % 30);
      }
      const auto tokens = tokenizer.encode(text, kPlain);
      REQUIRE(tokens.ok());
      const std::string back = *tokenizer.decode(*tokens);
      // What a decoded text is made of never changes again, also where the text itself cannot come back.
      if (back != text) {
        REQUIRE((name == "smollm" || text.find("\xE2\x96\x81") != std::string::npos));
        REQUIRE(round_trips(tokenizer, back));
      }
      ++n_checked;
    }
  }
  MESSAGE(n_checked << " texts");
}

TEST_CASE("long texts take time in proportion") {
  const std::vector<std::pair<std::string, std::string>> texts = {
      {"one word of one letter", std::string(kMegabyte, 'a')},
      {"one word of many letters", repeat("supercalifragilisticexpialidocious", kMegabyte)},
      {"one word of ideographs", repeat("\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8", kMegabyte / 4)},
      {"spaces", std::string(kMegabyte / 4, ' ')},
      {"spaces and a letter", std::string(kMegabyte / 4, ' ') + "a"},
      {"line ends", repeat(" \r\n\t", kMegabyte / 4)},
      {"digits", repeat("1234567890", kMegabyte / 4)},
      {"punctuation", repeat("=-", kMegabyte / 4)},
      {"no UTF-8", std::string(kMegabyte / 4, '\xFF')},
      {"starts of special tokens", repeat("<|im_", kMegabyte / 4)},
      {"special tokens", repeat("<|im_start|><s>", kMegabyte / 4)},
  };
  for (const std::string& name : vocabulary_names()) {
    const Tokenizer tokenizer = vocabulary(name);
    double worst_s = 0;
    std::string worst;
    for (const auto& row : texts) {
      const std::string& what = row.first;
      const std::string& text = row.second;
      const auto start = std::chrono::steady_clock::now();
      const auto tokens = tokenizer.encode(text, kParsed);
      const double wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      REQUIRE(tokens.ok());
      INFO(name << ": " << what);
      CHECK(wall_s < kLongTextLimitS);
      if (wall_s > worst_s) {
        worst_s = wall_s;
        worst = what;
      }
      if (name != "smollm") CHECK(*tokenizer.decode(*tokens, RenderSpecial::kYes) == text);
    }
    MESSAGE(name << ": at most " << worst_s << " s (" << worst << ")");
  }
}

TEST_CASE("eight threads encode and decode with one tokenizer") {
  const auto texts = read_texts("goldens.inp");
  for (const std::string name : {"llama-spm", "llama-bpe"}) {
    const Tokenizer tokenizer = vocabulary(name);
    std::vector<std::vector<TokenId>> expected;
    for (const std::string& text : texts) expected.push_back(*tokenizer.encode(text, kParsed));
    std::vector<std::size_t> n_same(8, 0);
    std::vector<std::thread> threads;
    for (std::size_t& same : n_same) {
      threads.emplace_back([&, handle = tokenizer] {
        for (std::size_t i = 0; i < texts.size(); ++i) {
          const auto tokens = handle.encode(texts[i], kParsed);
          if (tokens && *tokens == expected[i] && handle.decode(*tokens).ok()) ++same;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::size_t same : n_same) CHECK(same == texts.size());
  }
}

}  // namespace
