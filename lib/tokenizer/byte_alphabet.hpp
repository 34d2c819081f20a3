// The alphabet in which byte-level BPE vocabularies are written: one printable character per byte. Bytes that are
// printable in Latin-1 stand for themselves, the others are U+0100 upwards in byte order. Source: GPT-2's encoder.
#pragma once

#include <string>
#include <string_view>

namespace inlay {

/// Appends the bytes that `piece` stands for. False, and `out` unchanged, when a character is not of the alphabet.
bool append_alphabet_bytes(std::string_view piece, std::string& out);

/// Appends the character that stands for `byte`.
void append_alphabet_character(unsigned char byte, std::string& out);

}  // namespace inlay
