// What hosts do beyond opening a file and generating: other sources, their own memory, metadata, saved sessions,
// smaller files.
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "capi/tiny.hpp"

namespace {

using namespace inlay::test;

/// Calls `function(out, capacity, size)` as the array rule of inlay.h wants it.
template <class Element, class Function>
std::vector<Element> whole(const Function& function) {
  size_t size = 0;
  REQUIRE(function(nullptr, 0, &size) == INLAY_OK);
  std::vector<Element> all(size);
  if (size == 0) return all;
  REQUIRE(function(all.data(), size - 1, &size) == INLAY_BUFFER_TOO_SMALL);
  REQUIRE(function(all.data(), all.size(), &size) == INLAY_OK);
  return all;
}

std::vector<unsigned char> save(inlay_session* session) {
  return whole<unsigned char>([&](unsigned char* out, size_t capacity, size_t* size) {
    return inlay_session_save(session, out, capacity, size, nullptr);
  });
}

std::vector<inlay_token> next_tokens(inlay_session* session, int n) {
  std::vector<inlay_token> tokens(static_cast<size_t>(n));
  for (inlay_token& token : tokens) REQUIRE(inlay_session_step(session, &token, nullptr) == INLAY_OK);
  return tokens;
}

std::vector<inlay_token> answer(const inlay_model* model) {
  SessionHandle session;
  REQUIRE(inlay_session_create(model, nullptr, session.out(), nullptr) == INLAY_OK);
  REQUIRE(inlay_session_prefill(session.get(), kPrompt.data(), kPrompt.size(), nullptr) == INLAY_OK);
  return next_tokens(session.get(), 12);
}

std::vector<char> contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_CASE_FIXTURE(TinyFixture, "C: a session saved by one handle goes on in another one") {
  REQUIRE(opened);
  SessionHandle session, other;
  REQUIRE(inlay_session_create(model.get(), nullptr, session.out(), nullptr) == INLAY_OK);
  REQUIRE(inlay_session_create(model.get(), nullptr, other.out(), nullptr) == INLAY_OK);
  REQUIRE(inlay_session_prefill(session.get(), kPrompt.data(), kPrompt.size(), nullptr) == INLAY_OK);
  next_tokens(session.get(), 70);
  std::vector<unsigned char> state = save(session.get());
  REQUIRE(inlay_session_restore(other.get(), state.data(), state.size(), nullptr) == INLAY_OK);
  CHECK(next_tokens(other.get(), 20) == next_tokens(session.get(), 20));

  Error error;
  state[100] ^= 1;
  CHECK(inlay_session_restore(other.get(), state.data(), state.size(), error.out()) == INLAY_INVALID_STATE);
  CHECK(message(error).find("checksum") != std::string::npos);
  CHECK(inlay_error_status(error.get()) == INLAY_INVALID_STATE);
  CHECK(std::string(inlay_status_string(INLAY_INVALID_STATE)) == "invalid state");
  CHECK(inlay_session_restore(other.get(), nullptr, 5, error.out()) == INLAY_INVALID_ARGUMENT);
  CHECK(inlay_session_restore(other.get(), nullptr, 0, error.out()) == INLAY_INVALID_STATE);
  CHECK(next_tokens(other.get(), 5) == next_tokens(session.get(), 5));
}

inlay_flow read_vector(void* user_data, uint64_t offset, void* out, size_t size) {
  const auto& bytes = *static_cast<const std::vector<char>*>(user_data);
  if (offset > bytes.size() || size > bytes.size() - offset) return INLAY_STOP;
  std::memcpy(out, bytes.data() + offset, size);
  return INLAY_CONTINUE;
}

TEST_CASE_FIXTURE(TinyFixture, "C: models from memory and from a reader answer as the one from the file") {
  REQUIRE(opened);
  const std::vector<inlay_token> expected = answer(model.get());
  std::vector<char> bytes = contents(path);
  inlay_model_source memory, reader, both;
  for (inlay_model_source* source : {&memory, &reader, &both}) {
    inlay_model_source_init(source, sizeof *source);
    source->size = bytes.size();
  }
  memory.data = both.data = bytes.data();
  reader.read = both.read = read_vector;
  reader.read_user_data = &bytes;
  inlay_memory_estimate from_path = {sizeof from_path, 0, 0, 0};
  REQUIRE(inlay_model_estimate(path.c_str(), 0, nullptr, &from_path, nullptr) == INLAY_OK);
  for (const inlay_model_source* source : {&memory, &reader}) {
    ModelHandle again;
    REQUIRE(inlay_model_open_source(source, nullptr, again.out(), nullptr) == INLAY_OK);
    CHECK(answer(again.get()) == expected);
    inlay_memory_estimate estimate = {sizeof estimate, 0, 0, 0};
    REQUIRE(inlay_model_estimate_source(source, 0, nullptr, &estimate, nullptr) == INLAY_OK);
    CHECK(std::memcmp(&estimate, &from_path, sizeof estimate) == 0);
  }
  Error error;
  ModelHandle none;
  CHECK(inlay_model_open_source(&both, nullptr, none.out(), error.out()) == INLAY_INVALID_ARGUMENT);
  CHECK(inlay_model_open_source(nullptr, nullptr, none.out(), error.out()) == INLAY_INVALID_ARGUMENT);
  CHECK(message(error).find("source") != std::string::npos);
  reader.size = bytes.size() + 1;  // the reader stops at the end
  CHECK(inlay_model_open_source(&reader, nullptr, none.out(), error.out()) == INLAY_IO_ERROR);
  CHECK(none.get() == nullptr);
}

struct Arena {
  size_t out = 0;
  size_t calls = 0;
};

void* allocate(void* user_data, size_t size, size_t alignment) {
  auto& arena = *static_cast<Arena*>(user_data);
  ++arena.calls;
  arena.out += size;
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void release(void* user_data, void* memory, size_t size, size_t /*alignment*/) {
  static_cast<Arena*>(user_data)->out -= size;
  std::free(memory);
}

TEST_CASE_FIXTURE(TinyFixture, "C: the host's allocator is used and gets everything back") {
  REQUIRE(opened);
  Arena arena;
  inlay_model_options options;
  inlay_model_options_init(&options, sizeof options);
  options.allocate = allocate;
  options.release = release;
  options.allocator_user_data = &arena;
  {
    ModelHandle own;
    REQUIRE(inlay_model_open(path.c_str(), &options, own.out(), nullptr) == INLAY_OK);
    CHECK(answer(own.get()) == answer(model.get()));
    CHECK(arena.out > 0);
  }
  CHECK(arena.out == 0);
  MESSAGE(arena.calls << " allocations by the host");
  options.release = nullptr;
  ModelHandle none;
  CHECK(inlay_model_open(path.c_str(), &options, none.out(), nullptr) == INLAY_INVALID_ARGUMENT);
}

TEST_CASE_FIXTURE(TinyFixture, "C: metadata by number and by key") {
  REQUIRE(opened);
  size_t count = 0;
  REQUIRE(inlay_model_metadata_count(model.get(), &count, nullptr) == INLAY_OK);
  size_t architectures = 0;
  for (size_t i = 0; i < count; ++i) {
    const std::vector<char> key = whole<char>([&](char* out, size_t capacity, size_t* size) {
      return inlay_model_metadata_key(model.get(), i, out, capacity, size, nullptr);
    });
    const std::vector<char> text = whole<char>([&](char* out, size_t capacity, size_t* size) {
      return inlay_model_metadata(model.get(), key.data(), key.size(), out, capacity, size, nullptr);
    });
    if (std::string(key.begin(), key.end()) != "general.architecture") continue;
    CHECK(std::string(text.begin(), text.end()) == "llama");
    ++architectures;
  }
  CHECK(architectures == 1);
  size_t size = 0;
  CHECK(inlay_model_metadata_key(model.get(), count, nullptr, 0, &size, nullptr) == INLAY_NOT_FOUND);
  CHECK(inlay_model_metadata(model.get(), "none", 4, nullptr, 0, &size, nullptr) == INLAY_NOT_FOUND);
}

TEST_CASE_FIXTURE(TinyFixture, "C: a smaller file can be made and run") {
  REQUIRE(opened);
  size_t n_types = 0;
  bool has_q8_0 = false;
  for (; inlay_quantize_type(n_types) != nullptr; ++n_types) {
    has_q8_0 = has_q8_0 || std::string(inlay_quantize_type(n_types)) == "Q8_0";
  }
  CHECK(has_q8_0);
  CHECK(n_types > 10);
  inlay_quantize_options options;
  inlay_quantize_options_init(&options, sizeof options);
  options.type = "Q8_0";
  const std::string small = dir.file("small.gguf");
  REQUIRE(inlay_quantize(path.c_str(), small.c_str(), &options, nullptr) == INLAY_OK);
  CHECK(contents(small).size() < contents(path).size());
  ModelHandle quantised;
  REQUIRE(inlay_model_open(small.c_str(), nullptr, quantised.out(), nullptr) == INLAY_OK);
  CHECK(answer(quantised.get()).size() == 12);
  Error error;
  options.type = "Q9_9";
  CHECK(inlay_quantize(path.c_str(), small.c_str(), &options, error.out()) == INLAY_INVALID_ARGUMENT);
  options.type = nullptr;
  CHECK(inlay_quantize(path.c_str(), small.c_str(), &options, error.out()) == INLAY_INVALID_ARGUMENT);
  CHECK(inlay_quantize("no such file", small.c_str(), nullptr, error.out()) == INLAY_INVALID_ARGUMENT);
}

}  // namespace
