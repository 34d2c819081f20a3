// Writes first inputs for the fuzz targets: write_fuzz_seeds FOLDER makes a folder for each target in it. Sound files
// of every kind, of which a fuzzer makes unsound ones; the other targets' inputs are decisions, and it finds those
// itself.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include "fuzz/hostile_files.hpp"
#include "fuzz/small_model.hpp"

namespace {

using inlay::Format;
using inlay::fuzz::SmallModelOptions;
using inlay::gguf::Writer;

void write(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush().good()) throw std::runtime_error("cannot write " + path.string());
}

void write_model(const std::filesystem::path& path, const SmallModelOptions& options,
                 void (*add_tokenizer)(Writer& writer)) {
  Writer writer;
  inlay::fuzz::add_small_model(writer, options);
  add_tokenizer(writer);
  write(path, writer.finish());
}

void write_models(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  write_model(folder / "floats", {}, inlay::fuzz::add_small_spm);
  write_model(folder / "byte_pairs", {.has_head = true}, inlay::fuzz::add_small_bpe);
  write_model(folder / "yarn", {.has_biases = true, .rope_scaling_type = "yarn"}, inlay::fuzz::add_small_spm);
  const SmallModelOptions blocks = {
      .embedding_length = 32, .n_heads = 1, .feed_forward_length = 32, .format = Format::kQ4_0};
  write_model(folder / "blocks", blocks, inlay::fuzz::add_small_spm);
}

void write_decisions(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  std::uint32_t state = 1;
  for (int i = 0; i < 8; ++i) {
    std::vector<std::byte> bytes(128);
    for (std::byte& byte : bytes) {
      state = state * 1664525U + 1013904223U;
      byte = static_cast<std::byte>(state >> 24U);
    }
    write(folder / ("random_" + std::to_string(i)), bytes);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fputs("usage: write_fuzz_seeds FOLDER\n", stderr), 2;
  try {
    const std::filesystem::path folder = argv[1];
    write_models(folder / "gguf");
    write_decisions(folder / "tokenizer");
    write_decisions(folder / "c_api");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "write_fuzz_seeds: %s\n", error.what());
    return 1;
  }
}
