// A text as the pre-tokenizers' patterns may see it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace inlay {

/// Valid UTF-8 of the same size with every character where it was. What the patterns would see differently from the
/// models' own tokenizers is replaced by a character of the right class and the same size:
/// - a byte that is no part of a character, by a control character;
/// - U+180E, which was white space until Unicode 6.3 and still is for PCRE2, by a format character;
/// - characters that are newer than Unicode 14, which an older PCRE2 does not know, by a letter, number or punctuation.
class MatchableText {
 public:
  /// Keeps `text`, which must outlive it.
  explicit MatchableText(std::string_view text);

  [[nodiscard]] std::string_view view() const noexcept { return changed_ ? std::string_view(*changed_) : text_; }

 private:
  void replace(std::size_t begin, std::size_t size, std::string_view stand_in);

  std::string_view text_;
  std::optional<std::string> changed_;
};

}  // namespace inlay
