#include "tokenizer/byte_alphabet.hpp"

#include <array>
#include <cstdint>

#include "tokenizer/utf8.hpp"

namespace inlay {
namespace {

constexpr bool stands_for_itself(std::size_t byte) noexcept {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<std::uint16_t, 256> kCharacters = [] {
  std::array<std::uint16_t, 256> characters{};
  std::uint16_t next = 0x100;
  for (std::size_t byte = 0; byte < characters.size(); ++byte) {
    characters[byte] = stands_for_itself(byte) ? static_cast<std::uint16_t>(byte) : next++;
  }
  return characters;
}();

constexpr std::size_t kAlphabetEnd = 0x144;  // one above the greatest code point of the alphabet

/// Per code point its byte, or -1.
constexpr std::array<std::int16_t, kAlphabetEnd> kBytes = [] {
  std::array<std::int16_t, kAlphabetEnd> bytes{};
  for (auto& byte : bytes) byte = -1;
  for (std::size_t byte = 0; byte < kCharacters.size(); ++byte) {
    bytes[kCharacters[byte]] = static_cast<std::int16_t>(byte);
  }
  return bytes;
}();

}  // namespace

bool append_alphabet_bytes(std::string_view piece, std::string& out) {
  const std::size_t size_before = out.size();
  while (!piece.empty()) {
    const Utf8Unit unit = next_utf8(piece);
    const char32_t code_point =
        unit.kind == Utf8Kind::kValid ? decode_utf8(piece.substr(0, unit.size)) : char32_t{kAlphabetEnd};
    if (code_point >= kAlphabetEnd || kBytes[code_point] < 0) {
      out.resize(size_before);
      return false;
    }
    out += static_cast<char>(kBytes[code_point]);
    piece.remove_prefix(unit.size);
  }
  return true;
}

void append_alphabet_character(unsigned char byte, std::string& out) { append_utf8(kCharacters[byte], out); }

}  // namespace inlay
