// UTF-8 one unit at a time, for bytes that may be anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace inlay {

enum class Utf8Kind : std::uint8_t {
  kValid,       // one whole character
  kInvalid,     // bytes that no continuation can make valid
  kIncomplete,  // the end of the text, where more bytes could complete a character
};

struct Utf8Unit {
  Utf8Kind kind = Utf8Kind::kValid;
  std::size_t size = 1;  // bytes; of an invalid unit: the longest start of a character (Unicode 3.9, "maximal subpart")
};

/// The unit at the start of `bytes`, which is not empty. Surrogates, overlong forms and what lies above U+10FFFF are
/// invalid.
Utf8Unit next_utf8(std::string_view bytes) noexcept;

/// The code point of a valid unit.
char32_t decode_utf8(std::string_view unit) noexcept;

/// Appends `code_point` (a scalar value).
void append_utf8(char32_t code_point, std::string& out);

}  // namespace inlay
