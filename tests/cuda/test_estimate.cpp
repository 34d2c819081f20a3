// Model::estimate against the memory that a GPU loses.
#include <doctest/doctest.h>

#include <cuda_runtime_api.h>

#include <cmath>
#include <cstdint>

#include "runtime/sessions.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

constexpr int kContext = 4096;

/// Large enough that the driver's granularity of two megabytes does not count.
struct LargeModel : SessionTest {
  LargeModel() : SessionTest(large()) {}

  static TinyModelOptions large() {
    TinyModelOptions options;
    options.layers = 8;
    options.embedding_length = 1024;
    options.n_heads = 16;
    options.n_kv_heads = 8;
    options.feed_forward_length = 4096;
    options.context_length = kContext;
    options.formats = TinyModelFormats::all(Format::kQ8_0);
    return options;
  }
};

std::uint64_t free_bytes() {
  std::size_t free = 0;
  std::size_t total = 0;
  REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
  return free;
}

TEST_CASE_FIXTURE(LargeModel, "the estimate is what a model and a full context take, within 5 %") {
  ModelOptions options;
  options.device = DeviceKind::kCuda;
  for (const KvFormat kv_format : {KvFormat::kF16, KvFormat::kQ8_0}) {
    options.kv_format = kv_format;
    const auto estimate = Model::estimate(path, kContext, options);
    REQUIRE(estimate.ok());
    const auto fill = [&] {
      const Model model = open(options);
      Session session = new_session(model);
      REQUIRE(session.prefill(some_tokens(kContext - 1)).ok());
      return free_bytes();
    };
    fill();  // kernels are loaded, which takes memory of its own and once
    const std::uint64_t before = free_bytes();
    const auto used = static_cast<double>(before - fill());
    const auto expected = static_cast<double>(estimate->weight_bytes + estimate->activation_bytes + estimate->kv_bytes);
    MESSAGE("estimated " << expected / 1e6 << " MB, used " << used / 1e6 << " MB");
    CHECK(std::abs(used / expected - 1.0) < 0.05);
  }
}

}  // namespace
