// Session::profile on a GPU.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cuda/device_pool.hpp"
#include "cuda/record.hpp"
#include "model/kv_page.hpp"
#include "runtime/sessions.hpp"
#include "support/opened_plan.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

constexpr std::uint64_t kHeadSize = 32;
constexpr std::uint64_t kKvHeads = 4;
constexpr std::uint64_t kCodesAndScale = kHeadSize + 2;  // of a head and position in a Q8_0 cache

struct ProfiledModel : SessionTest {
  ProfiledModel() : SessionTest(wide()) {}

  static TinyModelOptions wide() {
    TinyModelOptions options;
    options.layers = 3;
    options.embedding_length = 256;
    options.n_heads = 8;
    options.n_kv_heads = kKvHeads;
    options.feed_forward_length = 512;
    options.formats = TinyModelFormats::all(Format::kQ4_K);
    options.formats.value = Format::kQ6_K;
    options.formats.down = Format::kF16;
    return options;
  }

  [[nodiscard]] Model open_on_gpu(KvFormat kv_format = KvFormat::kF16) const {
    ModelOptions options;
    options.device = DeviceKind::kCuda;
    options.kv_format = kv_format;
    return open(options);
  }
};

const std::map<StepKind, PassStep> kSteps = {
    {StepKind::kEmbed, PassStep::kEmbed},        {StepKind::kQkv, PassStep::kQkv},
    {StepKind::kAttend, PassStep::kAttend},      {StepKind::kProject, PassStep::kProject},
    {StepKind::kFeedForward, PassStep::kGateUp}, {StepKind::kDown, PassStep::kDown},
    {StepKind::kHead, PassStep::kHead}};

std::uint64_t matrix_bytes(const Plan& plan, MatrixId id) {
  if (id == kNoTensor) return 0;
  const Matrix& matrix = plan.tensors.matrix(id);
  return cuda::records_bytes(matrix.format, static_cast<int>(matrix.rows), static_cast<int>(matrix.cols));
}

/// What the plan says that a step reads for the last of `length` tokens.
std::uint64_t expected_bytes(const Plan& plan, const Step& step, int length, std::uint64_t kv_row_bytes) {
  if (step.kind == StepKind::kAttend) return 2 * static_cast<std::uint64_t>(length) * kKvHeads * kv_row_bytes;
  if (step.kind == StepKind::kEmbed) {  // one of the 16 rows of a record
    const Matrix& table = plan.tensors.matrix(step.matrix);
    return cuda::records_bytes(table.format, 1, static_cast<int>(table.cols)) / cuda::kPanelRows;
  }
  return matrix_bytes(plan, step.matrix) + matrix_bytes(plan, step.second) + matrix_bytes(plan, step.third);
}

void check_steps(const PassProfile& profile, const Plan& plan, int length, std::uint64_t kv_row_bytes) {
  REQUIRE(profile.steps.size() == plan.steps.size());
  double sum_us = 0.0;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const Step& step = plan.steps[i];
    const StepProfile& found = profile.steps[i];
    CAPTURE(i);
    CHECK(found.step == kSteps.at(step.kind));
    const bool is_of_layer = step.kind != StepKind::kEmbed && step.kind != StepKind::kHead;
    CHECK(found.layer == (is_of_layer ? step.layer : -1));
    CHECK(found.time_us > 0.0);
    CHECK(found.time_us < 5000.0);  // the host's time, and that of the held stream, are no part of it
    CHECK(found.bytes == expected_bytes(plan, step, length, kv_row_bytes));
    CHECK(found.bytes > 0);
    sum_us += found.time_us;
    bytes += found.bytes;
  }
  CHECK(profile.time_us > 0.0);
  CHECK(profile.time_us < 5000.0);
  CHECK(profile.peak_bytes_per_second >= 0.0);
  MESSAGE("steps of " << sum_us << " us, a pass of " << profile.time_us << " us, " << bytes << " bytes, memory of "
                      << profile.peak_bytes_per_second / 1e9 << " GB/s");
}

PassProfile profile_of(Session& session) {
  auto profile = session.profile();
  REQUIRE_MESSAGE(profile.ok(), profile.status().message());
  return *std::move(profile);
}

TEST_CASE_FIXTURE(ProfiledModel, "a profile has every step of the plan and leaves the session as it was") {
  const auto opened = open_plan(path);
  const Model model = open_on_gpu();
  for (const int length : {1, 20, kKvPagePositions, kKvPagePositions + 1}) {
    CAPTURE(length);
    Session session = new_session(model);
    Session expected = new_session(model);
    REQUIRE(session.prefill(some_tokens(length)).ok());
    REQUIRE(expected.prefill(some_tokens(length)).ok());
    REQUIRE(expected.step().ok());
    REQUIRE(expected.rewind(length).ok());  // its last token is evaluated again, too
    check_steps(profile_of(session), opened.plan, length, 2 * kHeadSize);
    CHECK(session.size() == length);
    CHECK(same_bits(logits_of(session), logits_of(expected)));
    for (int round = 0; round < 4; ++round) {  // also while a pass runs ahead
      CHECK(steps_of(session, 10) == steps_of(expected, 10));
      profile_of(session);
      profile_of(session);
    }
    // Two sessions in turn, so that a profile comes between a pass that runs ahead and its token.
    CHECK(steps_of(expected, 3) == steps_of(session, 3));
    profile_of(session);
    auto fork = expected.fork();
    REQUIRE(fork.ok());
    profile_of(*fork);
    CHECK(steps_of(*fork, 10) == steps_of(session, 10));
    CHECK(steps_of(expected, 10) == std::vector<TokenId>(session.tokens().end() - 10, session.tokens().end()));
  }
}

TEST_CASE_FIXTURE(ProfiledModel, "a profile counts the bytes of a KV cache of 8 bits, and of a full context") {
  const auto opened = open_plan(path);
  const Model model = open_on_gpu(KvFormat::kQ8_0);
  Session session = new_session(model, {.context_length = 100});
  REQUIRE(session.prefill(some_tokens(100)).ok());
  check_steps(profile_of(session), opened.plan, 100, (kCodesAndScale + 15) / 16 * 16);
  CHECK(session.step().code() == StatusCode::kContextFull);
}

TEST_CASE_FIXTURE(ProfiledModel, "a profile that fails is a status, and the session goes on") {
  const Model model = open_on_gpu();
  Session session = new_session(model);
  Session expected = new_session(model);
  CHECK(session.profile().code() == StatusCode::kInvalidArgument);
  REQUIRE(session.prefill(some_tokens(20)).ok());
  REQUIRE(expected.prefill(some_tokens(20)).ok());
  for (int n = 0; n < 2; ++n) {
    cuda::DevicePool::fail_after(n);
    const auto failed = session.profile();
    cuda::DevicePool::fail_after(-1);
    CHECK(failed.code() == StatusCode::kOutOfMemory);
  }
  session.cancel();
  CHECK(session.profile().code() == StatusCode::kCancelled);
  CHECK(session.profile().ok());
  CHECK(steps_of(session, 20) == steps_of(expected, 20));
}

}  // namespace
