#include "tokenizer/matchable_text.hpp"

#include <algorithm>
#include <array>

#include "tokenizer/utf8.hpp"

namespace inlay {
namespace {

constexpr std::string_view kInvalidBytes = "\x01\x01\x01";
constexpr std::string_view kWordJoiner = "\xE2\x81\xA0";       // U+2060, category Cf
constexpr std::string_view kLetter = "\xF0\xA0\x80\x80";       // U+20000, category Lo
constexpr std::string_view kNumber = "\xF0\x9F\x84\x80";       // U+1F100, category No
constexpr std::string_view kPunctuation = "\xF0\x90\x84\x80";  // U+10100, category Po

constexpr char32_t kVowelSeparator = 0x180E;

struct NewCharacters {
  char32_t first;
  char32_t last;
  std::string_view stand_in;
};

// Letters, numbers and punctuation added by Unicode 15.0 and 15.1, ascending. Source: DerivedAge.txt and
// UnicodeData.txt of the Unicode Character Database. All take four bytes.
constexpr std::array kNewCharacters = {
    NewCharacters{0x1123F, 0x11240, kLetter},       // Khojki
    NewCharacters{0x11B00, 0x11B09, kPunctuation},  // Devanagari head marks
    NewCharacters{0x11F02, 0x11F02, kLetter},       // Kawi
    NewCharacters{0x11F04, 0x11F10, kLetter},       //
    NewCharacters{0x11F12, 0x11F33, kLetter},       //
    NewCharacters{0x11F43, 0x11F4F, kPunctuation},  //
    NewCharacters{0x11F50, 0x11F59, kNumber},       //
    NewCharacters{0x1342F, 0x1342F, kLetter},       // Egyptian hieroglyphs
    NewCharacters{0x13441, 0x13446, kLetter},       //
    NewCharacters{0x1B132, 0x1B132, kLetter},       // small Kana
    NewCharacters{0x1B155, 0x1B155, kLetter},       //
    NewCharacters{0x1D2C0, 0x1D2D3, kNumber},       // Kaktovik numerals
    NewCharacters{0x1DF25, 0x1DF2A, kLetter},       // Latin
    NewCharacters{0x1E030, 0x1E06D, kLetter},       // Cyrillic modifier letters
    NewCharacters{0x1E4D0, 0x1E4EB, kLetter},       // Nag Mundari
    NewCharacters{0x1E4F0, 0x1E4F9, kNumber},       //
    NewCharacters{0x2B739, 0x2B739, kLetter},       // CJK ideographs
    NewCharacters{0x2EBF0, 0x2EE5D, kLetter},       //
    NewCharacters{0x31350, 0x323AF, kLetter},       //
};

/// Empty: none is needed.
std::string_view stand_in_for(char32_t character) noexcept {
  if (character == kVowelSeparator) return kWordJoiner;
  if (character < kNewCharacters.front().first) return {};
  const auto* const range =
      std::lower_bound(kNewCharacters.begin(), kNewCharacters.end(), character,
                       [](const NewCharacters& characters, char32_t wanted) { return characters.last < wanted; });
  return range != kNewCharacters.end() && character >= range->first ? range->stand_in : std::string_view();
}

}  // namespace

MatchableText::MatchableText(std::string_view text) : text_(text) {
  for (std::size_t begin = 0; begin < text.size();) {
    const Utf8Unit unit = next_utf8(text.substr(begin));
    if (unit.kind != Utf8Kind::kValid) {
      replace(begin, unit.size, kInvalidBytes.substr(0, unit.size));
    } else if (unit.size >= 3) {
      const std::string_view stand_in = stand_in_for(decode_utf8(text.substr(begin, unit.size)));
      if (!stand_in.empty()) replace(begin, unit.size, stand_in);
    }
    begin += unit.size;
  }
}

void MatchableText::replace(std::size_t begin, std::size_t size, std::string_view stand_in) {
  if (!changed_) changed_.emplace(text_);
  changed_->replace(begin, size, stand_in);
}

}  // namespace inlay
