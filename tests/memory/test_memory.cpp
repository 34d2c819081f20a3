// The decode loop takes no memory, and a model takes what `estimate` says.
#include <doctest/doctest.h>

#include <fstream>
#include <string>
#include <vector>

#include <inlay/inlay.hpp>

#include "memory/counted_new.hpp"
#include "support/real_model.hpp"
#include "support/temp_dir.hpp"
#include "support/tiny_model.hpp"

namespace {

using namespace inlay;

struct DecodeCase {
  const char* name;
  ModelOptions options;
  SamplingOptions sampling;
};

std::vector<DecodeCase> decode_cases() {
  std::vector<DecodeCase> cases;
  for (const DeviceInfo& device : devices()) {
    if (device.kind != DeviceKind::kCpu) continue;
    SamplingOptions sampled;
    sampled.temperature = 0.8F;
    sampled.top_k = 20;
    sampled.top_p = 0.9F;
    sampled.repetition_penalty = 1.1F;
    cases.push_back({"one thread, greedy", {.threads = 1}, {}});
    cases.push_back({"three threads, sampled", {.threads = 3}, sampled});
    cases.push_back({"Q8_0 keys and values", {.threads = 2, .kv_format = KvFormat::kQ8_0}, sampled});
    cases.push_back({"weights as in the file", {.threads = 2, .weight_layout = WeightLayout::kAsInFile}, {}});
    ModelOptions plain{.threads = 1};
    plain.cpu_isa = "generic";
    cases.push_back({"plain kernels", plain, {}});
  }
  return cases;
}

TEST_CASE("decoding takes no memory from the heap") {
  if (!test::kCountsAllocations) MESSAGE("not counted: a sanitizer has the allocator; only run");
  const test::TempDir dir;
  test::TinyModelOptions tiny;
  tiny.embedding_length = 256;
  tiny.n_heads = 4;  // of 64, for Q8_0 keys
  const std::string path = dir.write("tiny.gguf", test::make_tiny_model(tiny));
  for (const DecodeCase& one : decode_cases()) {
    CAPTURE(std::string(one.name));
    const auto model = Model::open(path, one.options);
    REQUIRE_MESSAGE(model.ok(), model.status().message());
    SessionOptions options;
    options.sampling = one.sampling;
    auto session = Session::create(*model, options);
    REQUIRE(session.ok());
    const std::vector<TokenId> prompt = {1, 2, 3};
    REQUIRE(session->prefill(prompt).ok());
    REQUIRE(session->step().ok());
    const std::int64_t before = test::allocation_count();
    constexpr int kSteps = 150;  // over two KV pages
    int done = 0;
    for (int i = 0; i < kSteps; ++i) done += session->step().ok() ? 1 : 0;
    const std::int64_t taken = test::allocation_count() - before;
    CHECK(done == kSteps);
    CHECK(taken == 0);
    MESSAGE(std::string(one.name), ": ", taken, " allocations in ", done, " steps");
  }
}

#if defined(INLAY_TEST_INSTRUMENTED)
constexpr bool kInstrumented = true;
#else
constexpr bool kInstrumented = false;
#endif

/// A line of /proc/self/status, in bytes.
std::uint64_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key, 0) == 0) return std::stoull(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

/// Lets VmHWM begin anew at what is in use now.
bool reset_peak() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << 5 << std::flush;
  return clear.good();
}

TEST_CASE("the peak memory of a real model is within a tenth of the estimate") {
  if (kInstrumented) {
    MESSAGE("skipped: instrumented builds take memory of their own");
    return;
  }
  const auto path = test::real_model_path();
  if (!path) {
    MESSAGE("skipped: the model has not been fetched");
    return;
  }
  constexpr int kContext = 1024;
  const ModelOptions options{.threads = 2};
  const auto estimate = Model::estimate(*path, kContext, options);
  REQUIRE(estimate.ok());
  if (!reset_peak()) {
    MESSAGE("skipped: the system does not let the peak be reset");
    return;
  }
  const std::uint64_t before = status_bytes("VmRSS:");
  const auto model = Model::open(*path, options);
  REQUIRE(model.ok());
  SessionOptions session_options;
  session_options.context_length = kContext;
  auto session = Session::create(*model, session_options);
  REQUIRE(session.ok());
  std::vector<TokenId> tokens(kContext - 1);
  // From all over the vocabulary: rows of the embedding are read where the file is mapped.
  const auto vocab_size = static_cast<std::size_t>(model->info().vocab_size);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<TokenId>(i * vocab_size / tokens.size());
  REQUIRE(session->prefill(tokens).ok());
  REQUIRE(session->step().ok());
  const auto peak = static_cast<double>(status_bytes("VmHWM:") - before);
  const auto expected = static_cast<double>(estimate->total_bytes());
  MESSAGE("peak ", peak / 1e6, " MB, estimate ", expected / 1e6, " MB, ratio ", peak / expected);
  CHECK(peak > 0.9 * expected);
  CHECK(peak < 1.1 * expected);
}

}  // namespace
