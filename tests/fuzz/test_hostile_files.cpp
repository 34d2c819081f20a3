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

TEST_CASE("rows of the embedding without a token are tokens without text") {
  const test::TempDir dir;
  const auto model = Model::open(dir.write("padded.gguf", fuzz::padded_file()), {.threads = 1});
  REQUIRE_MESSAGE(model.ok(), model.status().message());
  const Tokenizer tokenizer = model->tokenizer();
  CHECK(model->info().vocab_size == 14);
  CHECK(tokenizer.vocab_size() == 14);
  REQUIRE(tokenizer.decode({12, 13}, RenderSpecial::kYes).ok());
  for (const TokenId token : {12, 13}) CHECK(*tokenizer.piece(token, RenderSpecial::kYes) == "");
  CHECK(*tokenizer.decode({4, 12, 5, 13}) == "he");
  CHECK(tokenizer.piece(14).code() == StatusCode::kInvalidArgument);

  // A generation that chooses one goes on: every token is drawn with nearly the same probability here.
  auto session = Session::create(*model, {.sampling = {.temperature = 1e6F, .seed = 5}});
  REQUIRE(session.ok());
  REQUIRE(session->prefill(std::vector<TokenId>{1}).ok());
  int n_without_text = 0;
  for (int i = 0; i < 100; ++i) {
    const auto generation = session->generate({.max_tokens = 2});
    REQUIRE_MESSAGE(generation.ok(), generation.status().message());
    for (const TokenId token : generation->tokens) n_without_text += token >= 12 ? 1 : 0;
  }
  CHECK(n_without_text > 5);
  MESSAGE(n_without_text << " generated tokens had no text");
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
