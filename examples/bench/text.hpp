// Numbers as text.
#pragma once

#include <array>
#include <cstdio>
#include <string>

namespace inlay_bench {

inline constexpr double kGiga = 1e9;
inline constexpr double kMega = 1e6;

/// As printf, up to 255 bytes.
template <class... Arguments>
std::string format(const char* pattern, Arguments... arguments) {
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(), pattern, arguments...);
  return text.data();
}

}  // namespace inlay_bench
