// A small model file for the tests of the C API, and handles that free themselves.
#pragma once

#include <doctest/doctest.h>
#include <inlay.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "support/temp_dir.hpp"
#include "support/tiny_model.hpp"

namespace inlay::test {

/// Frees a handle of the C API with the function that belongs to it.
template <class Handle, void (*kFree)(Handle*)>
class Owned {
 public:
  Owned() = default;
  ~Owned() { kFree(handle_); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Handle** out() {
    kFree(std::exchange(handle_, nullptr));
    return &handle_;
  }
  [[nodiscard]] Handle* get() const { return handle_; }

 private:
  Handle* handle_ = nullptr;
};

using Error = Owned<inlay_error, inlay_error_free>;
using ModelHandle = Owned<inlay_model, inlay_model_close>;
using SessionHandle = Owned<inlay_session, inlay_session_free>;
using GenerationHandle = Owned<inlay_generation, inlay_generation_free>;
using ProfileHandle = Owned<inlay_profile, inlay_profile_free>;
using BatchHandle = Owned<inlay_batch, inlay_batch_free>;

inline std::string message(const Error& error) { return inlay_error_message(error.get()); }

/// A model of random weights, opened through the C API.
struct TinyFixture {
  TempDir dir;
  std::string path = dir.write("tiny.gguf", make_tiny_model({}));
  ModelHandle model;
  bool opened = inlay_model_open(path.c_str(), nullptr, model.out(), nullptr) == INLAY_OK;
};

inline const std::vector<inlay_token> kPrompt = {1, 70, 71, 72, 73};

inline std::vector<inlay_token> tokens_of(const inlay_session* session) {
  std::size_t size = 0;
  REQUIRE(inlay_session_tokens(session, nullptr, 0, &size, nullptr) == INLAY_OK);
  std::vector<inlay_token> tokens(size);
  REQUIRE(inlay_session_tokens(session, tokens.data(), size, &size, nullptr) == INLAY_OK);
  return tokens;
}

inline std::vector<float> logits_of(inlay_session* session) {
  const float* logits = nullptr;
  std::size_t size = 0;
  REQUIRE(inlay_session_logits(session, &logits, &size, nullptr) == INLAY_OK);
  return {logits, logits + size};
}

}  // namespace inlay::test
