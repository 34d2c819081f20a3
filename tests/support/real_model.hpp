// The real model of the tests, if it has been fetched (examples/fetch_model.sh).
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace inlay::test {

/// nullopt when it is not there.
inline std::optional<std::string> real_model_path() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (cache != nullptr && *cache != '\0') {
    folder = cache;
  } else if (home != nullptr) {
    folder = std::filesystem::path(home) / ".cache";
  }
  const std::filesystem::path path = folder / "inlay" / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path.string();
}

}  // namespace inlay::test
