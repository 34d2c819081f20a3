// The real vocabularies and the recorded texts.
#pragma once

#include <string>
#include <vector>

#include <inlay/tokenizer.hpp>

namespace inlay::test {

/// Every vocabulary in tests/data/vocab, by the names that vocabulary() takes.
const std::vector<std::string>& vocabulary_names();

/// Loads one, once per program run. `pre` replaces its pre-tokenizer if not empty. Throws when that fails.
Tokenizer vocabulary(const std::string& name, const std::string& pre = {});

/// A file of tests/data/vocab.
std::string read_vocab_file(const std::string& name);

/// The texts of an .inp file.
std::vector<std::string> read_texts(const std::string& name);

/// The ids of an .out file: per text without and with special tokens parsed.
struct ExpectedIds {
  std::vector<TokenId> plain;
  std::vector<TokenId> parsed;
};
std::vector<ExpectedIds> read_ids(const std::string& name);

/// "1 2 3", for messages.
std::string to_text(const std::vector<TokenId>& tokens);

constexpr EncodeOptions kPlain = {AddSpecial::kNo, ParseSpecial::kNo};
constexpr EncodeOptions kParsed = {AddSpecial::kNo, ParseSpecial::kYes};

/// Whether decode(encode(text)) is `text`.
bool round_trips(const Tokenizer& tokenizer, const std::string& text);

}  // namespace inlay::test
