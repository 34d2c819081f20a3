// Damaged model files, opened all the way: header, plan, tokenizer, and where all of these accept the file, a forward
// pass.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <inlay/inlay.hpp>

#include "gguf/gguf.hpp"
#include "model/plan.hpp"
#include "runtime/registry.hpp"
#include "support/temp_dir.hpp"
#include "support/tiny_model.hpp"
#include "tokenizer/tokenizer.hpp"

namespace {

using namespace inlay;

/// How far a file got.
enum class Outcome { kRefusedHeader, kRefusedPlan, kRefusedTokenizer, kRan };

/// Two rows through the executor. Their logits may be anything.
void run_two_rows(const Plan& plan) {
  auto executor = find_backend(DeviceKind::kCpu)->load(plan, {.threads = 1, .batch_rows = 2});
  REQUIRE_MESSAGE(executor.ok(), executor.status().message());
  REQUIRE((*executor)->reserve_pages(1).ok());
  const std::vector<Row> rows = {{0, 0, 0, Want::kKvOnly}, {plan.spec.vocab_size - 1, 1, 0, Want::kLogits}};
  const PageId page = 0;
  const std::span<const PageId> table(&page, 1);
  std::vector<float> logits(static_cast<std::size_t>(plan.spec.vocab_size));
  float* target = logits.data();
  REQUIRE((*executor)->forward({rows, {&table, 1}}, {{&target, 1}}).ok());
}

void check_refusal(const Status& status) {
  REQUIRE_FALSE(status.message().empty());
  REQUIRE((status.code() == StatusCode::kInvalidModel || status.code() == StatusCode::kUnsupported));
}

Outcome try_file(std::span<const std::byte> bytes) {
  const auto file = gguf::File::parse(bytes);
  if (!file.ok()) {
    check_refusal(file.status());
    return Outcome::kRefusedHeader;
  }
  const auto plan = make_plan(*file);
  if (!plan.ok()) {
    check_refusal(plan.status());
    return Outcome::kRefusedPlan;
  }
  const auto tokenizer = load_tokenizer(*file);
  if (!tokenizer.ok()) {
    check_refusal(tokenizer.status());
    return Outcome::kRefusedTokenizer;
  }
  const auto ids = Tokenizer(*tokenizer).encode("hello <s> wor\xFFld");
  REQUIRE(ids.ok());
  REQUIRE(Tokenizer(*tokenizer).decode(*ids).ok());
  run_two_rows(*plan);
  return Outcome::kRan;
}

std::size_t header_bytes(const std::vector<std::byte>& bytes) {
  const auto file = gguf::File::parse(bytes);
  REQUIRE(file.ok());
  return static_cast<std::size_t>(file->tensors().front().data.data() - bytes.data());
}

TEST_CASE("a model with any byte of its header changed is refused by a message, or runs") {
  std::vector<std::byte> bytes = test::make_tiny_model({.layers = 1,
                                                        .embedding_length = 32,
                                                        .n_heads = 2,
                                                        .n_kv_heads = 1,
                                                        .feed_forward_length = 32,
                                                        .rope_factors = true,
                                                        .rope_scaling_type = "yarn"});
  REQUIRE(try_file(bytes) == Outcome::kRan);
  const std::size_t n = header_bytes(bytes);
  std::size_t counts[4] = {};
  for (std::size_t i = 0; i < n; ++i) {
    const std::byte original = bytes[i];
    for (const auto value : {original ^ std::byte{0xFF}, original ^ std::byte{1}}) {
      bytes[i] = value;
      CAPTURE(i);
      ++counts[static_cast<int>(try_file(bytes))];
    }
    bytes[i] = original;
  }
  CHECK(counts[static_cast<int>(Outcome::kRefusedHeader)] > 0);
  CHECK(counts[static_cast<int>(Outcome::kRefusedPlan)] > 0);
  CHECK(counts[static_cast<int>(Outcome::kRefusedTokenizer)] > 0);
  CHECK(counts[static_cast<int>(Outcome::kRan)] > 0);
  MESSAGE("changed each of " << n << " bytes in 2 ways: header refused " << counts[0] << ", plan " << counts[1]
                             << ", tokenizer " << counts[2] << ", ran " << counts[3]);
}

TEST_CASE("opening a truncated or foreign file names the file and leaves nothing open") {
  const test::TempDir dir;
  const std::vector<std::byte> bytes = test::make_tiny_model({});
  int refused = 0;
  for (const std::size_t size : {std::size_t{1}, std::size_t{3}, std::size_t{4}, std::size_t{24}, std::size_t{1000},
                                 bytes.size() / 2, bytes.size() - 1}) {
    const std::string path = dir.write("cut.gguf", std::span(bytes).first(size));
    const auto model = Model::open(path);
    CHECK(model.code() == StatusCode::kInvalidModel);
    CHECK(model.status().message().find("cut.gguf") != std::string::npos);
    ++refused;
  }
  const std::string text = "this is not a model, but it is long enough to hold a header";
  const auto foreign = Model::open(dir.write("text.gguf", std::as_bytes(std::span(text))));
  CHECK(foreign.code() == StatusCode::kInvalidModel);
  CHECK(Model::open(dir.write("empty.gguf", {})).code() == StatusCode::kInvalidModel);
  CHECK(Model::open("").code() == StatusCode::kNotFound);
  CHECK(Model::estimate(dir.file("cut.gguf")).code() == StatusCode::kInvalidModel);
  MESSAGE("checked " << refused << " truncations");
}

}  // namespace
