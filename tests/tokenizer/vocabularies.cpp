#include "tokenizer/vocabularies.hpp"

#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>

#include "base/mapped_file.hpp"
#include "gguf/gguf.hpp"
#include "gguf/writer.hpp"
#include "tokenizer/tokenizer.hpp"

namespace inlay::test {
namespace {

constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
constexpr std::string_view kPreKey = "tokenizer.ggml.pre";

template <class T>
T value_of(Result<T> result) {
  if (!result) throw std::runtime_error(result.status().message());
  return *std::move(result);
}

/// The file's metadata with another pre-tokenizer.
std::vector<std::byte> with_pre(const gguf::File& file, const std::string& pre) {
  gguf::Writer writer;
  for (const auto& [key, value] : file.metadata()) {
    if (key == kPreKey) {
      writer.add_string(key, pre);
    } else {
      writer.add(key, value);
    }
  }
  return writer.finish();
}

Tokenizer load(const std::string& name, const std::string& pre) {
  const auto mapped = value_of(MappedFile::open(INLAY_TEST_VOCAB "/ggml-vocab-" + name + ".gguf"));
  const auto file = value_of(gguf::File::parse(mapped.bytes()));
  if (pre.empty()) return Tokenizer(value_of(load_tokenizer(file)));
  const auto changed = with_pre(file, pre);
  return Tokenizer(value_of(load_tokenizer(value_of(gguf::File::parse(changed)))));
}

std::vector<TokenId> parse_ids(const std::string& line) {
  std::istringstream in(line);
  std::vector<TokenId> ids;
  for (TokenId id = 0; in >> id;) ids.push_back(id);
  return ids;
}

}  // namespace

const std::vector<std::string>& vocabulary_names() {
  static const std::vector<std::string> names = {"llama-spm", "phi-3", "llama-bpe", "qwen2", "gpt-2", "smollm"};
  return names;
}

Tokenizer vocabulary(const std::string& name, const std::string& pre) {
  static std::map<std::string, Tokenizer> loaded;
  const std::string key = name + "/" + pre;
  auto entry = loaded.find(key);
  if (entry == loaded.end()) entry = loaded.emplace(key, load(name, pre)).first;
  return entry->second;
}

std::string read_vocab_file(const std::string& name) {
  std::ifstream in(INLAY_TEST_DATA "/vocab/" + name, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + name);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<std::string> read_texts(const std::string& name) {
  const std::string all = read_vocab_file(name);
  std::vector<std::string> texts;
  std::size_t begin = 0;
  for (auto end = all.find(kSeparator); end != std::string::npos; end = all.find(kSeparator, begin)) {
    texts.push_back(all.substr(begin, end - begin));
    begin = end + kSeparator.size();
  }
  if (begin < all.size()) texts.push_back(all.substr(begin));  // a last separator ends the last text
  return texts;
}

std::vector<ExpectedIds> read_ids(const std::string& name) {
  std::istringstream in(read_vocab_file(name));
  std::vector<ExpectedIds> ids;
  for (std::string line; std::getline(in, line);) {
    const auto bar = line.find('|');
    const auto plain = parse_ids(line.substr(0, bar));
    ids.push_back({plain, bar == std::string::npos ? plain : parse_ids(line.substr(bar + 1))});
  }
  return ids;
}

std::string to_text(const std::vector<TokenId>& tokens) {
  std::string text;
  for (const TokenId token : tokens) text += (text.empty() ? "" : " ") + std::to_string(token);
  return text;
}

bool round_trips(const Tokenizer& tokenizer, const std::string& text) {
  const auto tokens = tokenizer.encode(text, kPlain);
  return tokens && *tokenizer.decode(*tokens) == text;
}

}  // namespace inlay::test
