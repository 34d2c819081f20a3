// Runs every input of the committed corpora, and every hostile file, through its fuzz target: in each build, so also
// with sanitizers, and without libFuzzer. Usage: fuzz_corpus FOLDER
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "fuzz/hostile_files.hpp"

extern "C" {
int fuzz_gguf(const std::uint8_t* data, std::size_t size);
int fuzz_tokenizer(const std::uint8_t* data, std::size_t size);
int fuzz_c_api(const std::uint8_t* data, std::size_t size);
}

namespace {

struct Target {
  const char* name;
  int (*run)(const std::uint8_t* data, std::size_t size);
};

constexpr Target kTargets[] = {{"gguf", fuzz_gguf}, {"tokenizer", fuzz_tokenizer}, {"c_api", fuzz_c_api}};

/// A vector of its own size: the sanitizer sees its end.
std::vector<std::uint8_t> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> characters{std::istreambuf_iterator<char>(file), {}};
  return {characters.begin(), characters.end()};
}

std::size_t replay_folder(const Target& target, const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    const auto bytes = read_file(path);
    target.run(bytes.data(), bytes.size());
  }
  return paths.size();
}

int replay(const std::filesystem::path& corpus) {
  int status = 0;
  for (const Target& target : kTargets) {
    const std::size_t n = replay_folder(target, corpus / target.name);
    std::printf("%s: %zu inputs of its corpus ran\n", target.name, n);
    if (n == 0) status = 1;
  }
  const auto files = inlay::fuzz::hostile_files();
  for (const auto& file : files) {
    const std::vector<std::byte> bytes(file.bytes.begin(), file.bytes.end());
    fuzz_gguf(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
  std::printf("gguf: %zu hostile files ran\n", files.size());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fputs("usage: fuzz_corpus FOLDER\n", stderr), 2;
  try {
    return replay(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fuzz_corpus: %s\n", error.what());
    return 1;
  }
}
