// Writes a small model of random weights for tests that need a file: write_tiny_model PATH.
#include <cstdio>
#include <exception>
#include <fstream>

#include "support/tiny_model.hpp"

int main(int argc, char** argv) {
  if (argc != 2) return std::fputs("usage: write_tiny_model PATH\n", stderr), 2;
  try {
    inlay::test::TinyModelOptions options;
    options.context_length = 16384;  // long enough to be interrupted
    const auto bytes = inlay::test::make_tiny_model(options);
    std::ofstream file(argv[1], std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return file.flush().good() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "write_tiny_model: %s\n", error.what());
    return 1;
  }
}
