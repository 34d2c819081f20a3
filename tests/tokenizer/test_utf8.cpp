#include <doctest/doctest.h>

#include <random>

#include <inlay/tokenizer.hpp>

#include "tokenizer/utf8.hpp"

namespace {

using inlay::next_utf8;
using inlay::Utf8Kind;
using inlay::Utf8Stream;

const std::string kReplacement = "\xEF\xBF\xBD";
const std::string kScripts =
    "Aé½ Привет नमस्ते 你好 한국 🚀👩‍👩‍👧 \xF4\x8F\xBF\xBF e\xCC\x81";

bool is_whole(const std::string& text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto unit = next_utf8(std::string_view(text).substr(i));
    if (unit.kind != Utf8Kind::kValid) return false;
    i += unit.size;
  }
  return true;
}

TEST_CASE("Utf8Stream: every cut of a text in two or three gives whole characters and the same text") {
  std::size_t n_cuts = 0;
  for (std::size_t a = 0; a <= kScripts.size(); ++a) {
    for (std::size_t b = a; b <= kScripts.size(); ++b) {
      Utf8Stream stream;
      std::string text;
      for (const auto& part : {kScripts.substr(0, a), kScripts.substr(a, b - a), kScripts.substr(b)}) {
        const std::string complete = stream.push(part).value();
        REQUIRE(is_whole(complete));
        text += complete;
      }
      REQUIRE(stream.finish().empty());
      REQUIRE(text == kScripts);
      ++n_cuts;
    }
  }
  Utf8Stream stream;
  std::string text;
  for (const char byte : kScripts) text += stream.push({&byte, 1}).value();
  CHECK(text + stream.finish() == kScripts);
  MESSAGE(n_cuts << " ways to cut " << kScripts.size() << " bytes");
}

TEST_CASE("Utf8Stream: what cannot become valid is replaced, once per longest start of a character") {
  const auto streamed = [](std::string_view bytes) {
    Utf8Stream stream;
    std::string text = stream.push(bytes).value();
    return text + stream.finish();
  };
  const std::string& r = kReplacement;
  CHECK(streamed("a\x80z") == "a" + r + "z");
  CHECK(streamed("\xC0\xAF") == r + r);                  // overlong
  CHECK(streamed("\xE0\x80\xAF") == r + r + r);          // overlong
  CHECK(streamed("\xED\xA0\x80") == r + r + r);          // surrogate
  CHECK(streamed("\xF4\x90\x80\x80") == r + r + r + r);  // above U+10FFFF
  CHECK(streamed("\xF5\xFF") == r + r);
  CHECK(streamed("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41") == r + r + r + r + "A");  // the standard's example
  CHECK(streamed("\xF0\x9F\x9A") == r);                                            // cut off at the end
  Utf8Stream stream;
  CHECK(stream.push("\xF0\x9F").value().empty());
  CHECK(stream.push("x").value() == r + "x");
  CHECK(stream.finish().empty());
  CHECK(stream.push("\xE2").value().empty());
  CHECK(stream.finish() == r);
  CHECK(stream.finish().empty());
}

TEST_CASE("Utf8Stream: random bytes in random pieces give whole characters, the same as in one piece") {
  std::mt19937 random(7);
  const auto below = [&](std::size_t n) { return random() % n; };
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    while (bytes.size() < 40) {
      const std::size_t begin = below(kScripts.size());
      bytes += below(3) == 0 ? std::string(1, static_cast<char>(below(256))) : kScripts.substr(begin, below(6));
    }
    Utf8Stream in_one;
    const std::string expected_begin = in_one.push(bytes).value();
    const std::string expected = expected_begin + in_one.finish();
    Utf8Stream stream;
    std::string text;
    for (std::size_t begin = 0; begin < bytes.size();) {
      const std::size_t size = 1 + below(5);
      text += stream.push(std::string_view(bytes).substr(begin, size)).value();
      begin += size;
    }
    text += stream.finish();
    REQUIRE(text == expected);
    REQUIRE(is_whole(text));
  }
}

TEST_CASE("code points survive encoding and decoding") {
  std::size_t n_checked = 0;
  for (char32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    if (code_point >= 0xD800 && code_point <= 0xDFFF) continue;
    std::string text;
    inlay::append_utf8(code_point, text);
    const auto unit = next_utf8(text);
    if (unit.kind != Utf8Kind::kValid || unit.size != text.size() || inlay::decode_utf8(text) != code_point) {
      FAIL("U+" << static_cast<std::uint32_t>(code_point));
    }
    ++n_checked;
  }
  MESSAGE(n_checked << " code points");
}

}  // namespace
