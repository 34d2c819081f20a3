// Whole model files of the kinds that have broken GGUF loaders, beyond those in tests/gguf, tests/model and
// tests/tokenizer: what each is, and how it must be refused.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <inlay/result.hpp>

namespace inlay::fuzz {

struct HostileFile {
  std::string what;
  std::vector<std::byte> bytes;
  StatusCode code;
  std::string message;  // a part of it
};

std::vector<HostileFile> hostile_files();

/// The model that they are made from, undamaged.
std::vector<std::byte> sound_file();

}  // namespace inlay::fuzz
