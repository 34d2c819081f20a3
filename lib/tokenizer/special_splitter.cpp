#include "tokenizer/special_splitter.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace inlay {
namespace {

constexpr std::uint32_t kNoSpecial = UINT32_MAX;

constexpr bool is_space(char character) noexcept {
  return character == ' ' || (character >= '\t' && character <= '\r');
}

constexpr std::uint64_t edge(std::uint32_t node, unsigned char byte) noexcept {
  return std::uint64_t{node} << 8U | byte;
}

/// Phi-3 was trained with tokens that swallow the white space to their right.
/// Source: "rstrip" in its tokenizer.json, where only these three have it off.
bool strips_right(std::string_view name, std::string_view model_name) {
  std::string lower(model_name);
  for (char& character : lower) {
    if (character >= 'A' && character <= 'Z') character = static_cast<char>(character - 'A' + 'a');
  }
  const bool phi3 = lower.find("phi-3") != std::string::npos || lower.find("phi3") != std::string::npos;
  return phi3 && name != "<unk>" && name != "<s>" && name != "<|endoftext|>";
}

}  // namespace

SpecialSplitter::SpecialSplitter(const Vocab& vocab, std::string_view model_name) {
  for (std::size_t i = 0; i < vocab.size(); ++i) {
    const auto token = static_cast<TokenId>(i);
    const std::string_view name = vocab.bytes(token);
    if (!vocab.is_special(token) || name.empty()) continue;
    specials_.push_back({name, token, vocab.is_hidden(token), strips_right(name, model_name)});
  }
  std::stable_sort(specials_.begin(), specials_.end(),
                   [](const Special& a, const Special& b) { return a.name.size() > b.name.size(); });
  special_of_node_.push_back(kNoSpecial);
  for (std::uint32_t i = 0; i < specials_.size(); ++i) add_to_trie(i);
}

void SpecialSplitter::add_to_trie(std::uint32_t special) {
  const std::string_view name = specials_[special].name;
  starts_[static_cast<unsigned char>(name[0])] = true;
  Node node = 0;
  for (const char character : name) {
    const auto byte = static_cast<unsigned char>(character);
    Node next = child(node, byte);
    if (next == 0) {
      next = static_cast<Node>(special_of_node_.size());
      children_.try_emplace(edge(node, byte), next);
      special_of_node_.push_back(kNoSpecial);
    }
    node = next;
  }
  if (special_of_node_[node] == kNoSpecial) special_of_node_[node] = special;  // of equal names the first
}

SpecialSplitter::Node SpecialSplitter::child(Node node, unsigned char byte) const noexcept {
  const Node* const found = children_.find(edge(node, byte));
  return found == nullptr ? 0 : *found;
}

std::vector<std::uint32_t> SpecialSplitter::occurring(std::string_view text, ParseSpecial parse_special) const {
  std::vector<std::uint32_t> found;
  std::vector<bool> seen(specials_.size(), false);
  for (std::size_t begin = 0; begin < text.size(); ++begin) {
    if (!starts_[static_cast<unsigned char>(text[begin])]) continue;
    Node node = 0;
    for (std::size_t i = begin; i < text.size(); ++i) {
      node = child(node, static_cast<unsigned char>(text[i]));
      if (node == 0) break;
      const std::uint32_t special = special_of_node_[node];
      if (special == kNoSpecial || seen[special]) continue;
      seen[special] = true;
      if (parse_special == ParseSpecial::kYes || !specials_[special].only_when_asked) found.push_back(special);
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

void SpecialSplitter::split_fragment(const Fragment& fragment, const Special& special, std::vector<Fragment>& out) {
  std::string_view rest = fragment.text;
  while (!rest.empty()) {
    const std::size_t at = rest.find(special.name);
    if (at != 0) out.push_back({kNoToken, rest.substr(0, at)});
    if (at == std::string_view::npos) return;
    out.push_back({special.token, {}});
    rest.remove_prefix(at + special.name.size());
    while (special.strips_right && !rest.empty() && is_space(rest[0])) rest.remove_prefix(1);
  }
}

std::vector<Fragment> SpecialSplitter::split(std::string_view text, ParseSpecial parse_special) const {
  std::vector<Fragment> fragments;
  if (text.empty()) return fragments;
  fragments.push_back({kNoToken, text});
  std::vector<Fragment> finer;
  for (const std::uint32_t special : occurring(text, parse_special)) {
    finer.clear();
    for (const Fragment& fragment : fragments) {
      if (fragment.token == kNoToken) {
        split_fragment(fragment, specials_[special], finer);
      } else {
        finer.push_back(fragment);
      }
    }
    std::swap(fragments, finer);
  }
  return fragments;
}

}  // namespace inlay
