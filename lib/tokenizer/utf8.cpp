#include "tokenizer/utf8.hpp"

#include <array>

namespace inlay {
namespace {

/// What may follow a first byte. Source: the Unicode Standard, table 3-7.
struct Lead {
  unsigned char size = 0;  // bytes of the character; 0: no character starts so
  unsigned char second_min = 0x80;
  unsigned char second_max = 0xBF;
};

constexpr std::array<Lead, 256> kLeads = [] {
  std::array<Lead, 256> leads;
  for (std::size_t byte = 0x00; byte <= 0x7F; ++byte) leads[byte].size = 1;
  for (std::size_t byte = 0xC2; byte <= 0xDF; ++byte) leads[byte].size = 2;
  for (std::size_t byte = 0xE0; byte <= 0xEF; ++byte) leads[byte].size = 3;
  for (std::size_t byte = 0xF0; byte <= 0xF4; ++byte) leads[byte].size = 4;
  leads[0xE0].second_min = 0xA0;
  leads[0xED].second_max = 0x9F;
  leads[0xF0].second_min = 0x90;
  leads[0xF4].second_max = 0x8F;
  return leads;
}();

constexpr unsigned char byte_at(std::string_view bytes, std::size_t i) noexcept {
  return static_cast<unsigned char>(bytes[i]);
}

constexpr bool continues(const Lead& lead, std::size_t i, unsigned char byte) noexcept {
  return i == 1 ? byte >= lead.second_min && byte <= lead.second_max : (byte & 0xC0U) == 0x80U;
}

}  // namespace

Utf8Unit next_utf8(std::string_view bytes) noexcept {
  const Lead& lead = kLeads[byte_at(bytes, 0)];
  if (lead.size == 0) return {Utf8Kind::kInvalid, 1};
  for (std::size_t i = 1; i < lead.size; ++i) {
    if (i == bytes.size()) return {Utf8Kind::kIncomplete, i};
    if (!continues(lead, i, byte_at(bytes, i))) return {Utf8Kind::kInvalid, i};
  }
  return {Utf8Kind::kValid, lead.size};
}

char32_t decode_utf8(std::string_view unit) noexcept {
  if (unit.size() == 1) return byte_at(unit, 0);
  char32_t code_point = byte_at(unit, 0) & (0x7FU >> unit.size());
  for (std::size_t i = 1; i < unit.size(); ++i) code_point = code_point << 6U | (byte_at(unit, i) & 0x3FU);
  return code_point;
}

void append_utf8(char32_t code_point, std::string& out) {
  const auto tail = [&](unsigned shift) { out += static_cast<char>(0x80U | (code_point >> shift & 0x3FU)); };
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xC0U | code_point >> 6U);
    tail(0);
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xE0U | code_point >> 12U);
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0U | code_point >> 18U);
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace inlay
