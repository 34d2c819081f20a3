#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "runtime/sessions.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

std::vector<std::byte> contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

/// Reads from `bytes` and counts.
struct CountingReader {
  const std::vector<std::byte>& bytes;
  std::uint64_t n_read = 0;
  int calls = 0;
  int fail_at = 0;  // the call that fails; 0: none

  FileReader reader() {
    return {bytes.size(), [this](std::uint64_t offset, std::span<std::byte> out) {
              if (++calls == fail_at) return Flow::kStop;
              REQUIRE(offset + out.size() <= bytes.size());
              std::memcpy(out.data(), bytes.data() + offset, out.size());
              n_read += out.size();
              return Flow::kContinue;
            }};
  }
};

Logits answer(const ModelSource& source, const ModelOptions& options) {
  auto model = Model::open(source, options);
  REQUIRE_MESSAGE(model.ok(), model.status().message());
  Session session = new_session(*model);
  REQUIRE(session.prefill(some_tokens(70)).ok());
  REQUIRE(session.step().ok());
  return logits_of(session);
}

TEST_CASE_FIXTURE(SessionTest, "a model from memory and from a reader is the one from the file") {
  const std::vector<std::byte> bytes = contents(path);
  for (const WeightLayout layout : {WeightLayout::kRepacked, WeightLayout::kAsInFile}) {
    ModelOptions options = {.threads = 1};
    options.weight_layout = layout;
    const Logits expected = answer(path, options);
    CHECK(same_bits(answer(std::span<const std::byte>(bytes), options), expected));
    CountingReader counting{bytes};
    CHECK(same_bits(answer(counting.reader(), options), expected));
    CHECK(counting.n_read == bytes.size());
  }
  CHECK(contents(path) == bytes);
}

TEST_CASE_FIXTURE(SessionTest, "what a source cannot give is refused, and the message names the source") {
  const std::vector<std::byte> bytes = contents(path);
  const auto message = [](const ModelSource& source, StatusCode code) {
    const auto model = Model::open(source, {.threads = 1});
    CHECK(model.code() == code);
    return model.status().message();
  };
  CountingReader failing{bytes};
  failing.fail_at = 1;
  CHECK(message(failing.reader(), StatusCode::kIoError).starts_with("model from a reader: "));
  CHECK(message(FileReader{}, StatusCode::kInvalidArgument).starts_with("model from a reader: "));
  CountingReader empty{{}};
  CHECK(message(empty.reader(), StatusCode::kInvalidModel).starts_with("model from a reader: "));
  CHECK(message(std::span<const std::byte>(), StatusCode::kInvalidModel).starts_with("model in memory: "));
  const auto half = std::span<const std::byte>(bytes).first(bytes.size() / 2);
  CHECK(message(half, StatusCode::kInvalidModel).starts_with("model in memory: tensor "));
  FileReader huge{~std::uint64_t{0}, [](std::uint64_t, std::span<std::byte>) { return Flow::kContinue; }};
  CHECK(message(huge, StatusCode::kOutOfMemory).starts_with("model from a reader: "));
}

TEST_CASE("an estimate reads little more than the header of a reader's file") {
  TinyModelOptions options;
  options.feed_forward_length = 20480;
  const std::vector<std::byte> bytes = make_tiny_model(options);
  TempDir dir;
  const auto expected = Model::estimate(dir.write("big.gguf", bytes));
  REQUIRE(expected.ok());
  CountingReader counting{bytes};
  const auto found = Model::estimate(counting.reader());
  REQUIRE(found.ok());
  CHECK(found->weight_bytes == expected->weight_bytes);
  CHECK(found->activation_bytes == expected->activation_bytes);
  CHECK(found->kv_bytes == expected->kv_bytes);
  CHECK(counting.n_read < bytes.size() / 4);
  MESSAGE(counting.n_read << " of " << bytes.size() << " bytes read");
}

/// The host's memory, with a record of what is out.
struct CountingAllocator {
  std::map<void*, std::size_t> out;
  std::size_t total = 0;
  int calls = 0;
  int fail_at = 0;  // the call that gets nothing; 0: none

  HostAllocator allocator() {
    return {[this](std::size_t bytes, std::size_t alignment) -> void* {
              if (++calls == fail_at) return nullptr;
              void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
              std::memset(memory, 0xFF, bytes);  // nobody may count on zeros
              out[memory] = bytes;
              total += bytes;
              return memory;
            },
            [this](void* memory, std::size_t bytes, std::size_t /*alignment*/) {
              CHECK(out.at(memory) == bytes);
              out.erase(memory);
              std::free(memory);
            }};
  }
};

TEST_CASE_FIXTURE(SessionTest, "the host's allocator gives the large memory and gets all of it back") {
  const Logits expected = answer(path, {.threads = 1});
  const std::vector<std::byte> bytes = contents(path);
  int most = 0;
  {
    CountingAllocator counting;
    CountingReader reader{bytes};
    ModelOptions options = {.threads = 1};
    options.allocator = counting.allocator();
    CHECK(same_bits(answer(reader.reader(), options), expected));
    CHECK(counting.out.empty());
    const auto estimate = Model::estimate(path, 0, options);
    REQUIRE(estimate.ok());
    CHECK(counting.total >= estimate->activation_bytes + estimate->kv_bytes + bytes.size());
    most = counting.calls;
    MESSAGE(counting.calls << " allocations, " << counting.total << " bytes");
  }
  for (int fail_at = 1; fail_at <= most; ++fail_at) {
    CAPTURE(fail_at);
    CountingAllocator counting;
    counting.fail_at = fail_at;
    CountingReader reader{bytes};
    ModelOptions options = {.threads = 1};
    options.allocator = counting.allocator();
    auto model = Model::open(reader.reader(), options);
    if (model.ok()) {
      CHECK(Session::create(*model).code() == StatusCode::kOutOfMemory);
      Session again = new_session(*model);  // the memory is there the second time
      CHECK(again.prefill(some_tokens(5)).ok());
    } else {
      CHECK(model.code() == StatusCode::kOutOfMemory);
      CHECK(counting.out.empty());
    }
  }
  HostAllocator half = CountingAllocator().allocator();
  half.release = {};
  ModelOptions options;
  options.allocator = half;
  CHECK(Model::open(path, options).code() == StatusCode::kInvalidArgument);
}

TEST_CASE_FIXTURE(SessionTest, "metadata can be read as text") {
  const Model model = open();
  const auto keys = model.metadata_keys();
  REQUIRE(keys.ok());
  CHECK(keys->size() > 10);
  std::size_t read = 0;
  for (const std::string_view key : *keys) read += model.metadata(key).ok() ? 1 : 0;
  CHECK(read == keys->size());
  CHECK(*model.metadata("general.architecture") == "llama");
  CHECK(*model.metadata("llama.block_count") == "2");
  CHECK(*model.metadata("llama.attention.layer_norm_rms_epsilon") == "1e-05");
  CHECK(model.metadata("tokenizer.ggml.tokens")->starts_with(R"(["<unk>", "<s>", "</s>", ")"));
  CHECK(model.metadata("tokenizer.ggml.token_type")->starts_with("[2, 3, 3, "));
  const auto missing = model.metadata("no such key");
  CHECK(missing.code() == StatusCode::kNotFound);
  CHECK(missing.status().message().find("\"no such key\"") != std::string::npos);
}

}  // namespace
