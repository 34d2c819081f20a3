// Files of the kinds that have broken other loaders, opened as an embedder opens them: each has its refusal.
#include <doctest/doctest.h>

#include <inlay.h>

#include <string>

#include <inlay/inlay.hpp>

#include "fuzz/hostile_files.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace inlay;

TEST_CASE("every hostile file is refused by a message that names the thing") {
  const test::TempDir dir;
  const auto sound = Model::open(dir.write("sound.gguf", fuzz::sound_file()), {.threads = 1});
  REQUIRE_MESSAGE(sound.ok(), sound.status().message());
  const auto files = fuzz::hostile_files();
  for (const fuzz::HostileFile& file : files) {
    CAPTURE(file.what);
    const auto model = Model::open(dir.write("hostile.gguf", file.bytes), {.threads = 1});
    CHECK(model.code() == file.code);
    const std::string message = model.status().message();
    CAPTURE(message);
    CHECK(message.find("hostile.gguf\": ") != std::string::npos);
    CHECK(message.find(file.message) != std::string::npos);
  }
  CHECK(files.size() > 60);
  MESSAGE("refused " << files.size() << " files, each with its message");
}

/// A text this long is refused by its size alone: nothing reads it.
TEST_CASE("a text whose tokens 32 bits could not count is refused before it is read") {
  const test::TempDir dir;
  inlay_model* model = nullptr;
  REQUIRE(inlay_model_open(dir.write("sound.gguf", fuzz::sound_file()).c_str(), nullptr, &model, nullptr) == INLAY_OK);
  int refused = 0;
  for (const std::size_t size : {std::size_t{1} << 31U, (std::size_t{1} << 32U) + 1, SIZE_MAX}) {
    inlay_error* error = nullptr;
    std::size_t n_tokens = 77;
    CHECK(inlay_tokenize(model, "text", size, 0, nullptr, 0, &n_tokens, &error) == INLAY_INVALID_ARGUMENT);
    const std::string message = inlay_error_message(error);
    CHECK(message == "text: expected at most 2147483647 bytes, found " + std::to_string(size));
    CHECK(n_tokens == 77);
    inlay_error_free(error);
    ++refused;
  }
  inlay_model_close(model);
  MESSAGE("refused " << refused << " sizes");
}

}  // namespace
