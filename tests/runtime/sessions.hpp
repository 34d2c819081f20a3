// A small model in a file, and short ways to use its sessions.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include <inlay/inlay.hpp>

#include "support/temp_dir.hpp"
#include "support/tiny_model.hpp"

namespace inlay::test {

using Logits = std::vector<float>;

/// A model in a file.
class SessionTest {
 public:
  /// Quantised. Two layers, GQA, rows that are no multiple of 256.
  SessionTest() : SessionTest(tiny()) {}
  explicit SessionTest(const TinyModelOptions& options) : path(dir.write("tiny.gguf", make_tiny_model(options))) {}

  static TinyModelOptions tiny() {
    TinyModelOptions options;
    options.embedding_length = 96;
    options.n_heads = 6;
    options.feed_forward_length = 160;
    options.formats = TinyModelFormats::all(Format::kQ4_1);
    options.formats.token_embedding = Format::kQ8_0;
    return options;
  }

  [[nodiscard]] Model open(const ModelOptions& options = {.threads = 1}) const {
    auto model = Model::open(path, options);
    REQUIRE_MESSAGE(model.ok(), model.status().message());
    return *std::move(model);
  }

  TempDir dir;
  std::string path;
};

inline Session new_session(const Model& model, const SessionOptions& options = {}) {
  auto session = Session::create(model, options);
  REQUIRE_MESSAGE(session.ok(), session.status().message());
  return *std::move(session);
}

inline std::vector<TokenId> some_tokens(int n, int seed = 1) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back((i * 37 + seed * 101 + i * i) % 320);
  return tokens;
}

inline Logits logits_of(Session& session) {
  const auto logits = session.logits();
  REQUIRE_MESSAGE(logits.ok(), logits.status().message());
  return {logits->begin(), logits->end()};
}

/// The tokens of n steps.
inline std::vector<TokenId> steps_of(Session& session, int n) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < n; ++i) {
    const auto token = session.step();
    REQUIRE_MESSAGE(token.ok(), token.status().message());
    tokens.push_back(*token);
  }
  return tokens;
}

inline bool same_bits(const Logits& a, const Logits& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace inlay::test
