// Session::profile: what it asks of an executor, and what it leaves of the session.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "model/kv_page.hpp"
#include "runtime/model_impl.hpp"
#include "runtime/sessions.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;

/// Evaluates rows as another executor does, and answers `profile` itself, by evaluating the row.
class ProfilingExecutor final : public Executor {
 public:
  explicit ProfilingExecutor(std::unique_ptr<Executor> other, int vocab_size)
      : other_(std::move(other)), logits_(static_cast<std::size_t>(vocab_size)) {}

  Result<void> forward(const RowBatch& batch, const StepOutput& output) override {
    return other_->forward(batch, output);
  }
  Result<PassProfile> profile(const RowBatch& batch) override {
    row = batch.rows.front();
    n_rows = batch.rows.size();
    n_pages = batch.page_tables.front().size();
    if (batch.is_cancelled()) return Status(StatusCode::kCancelled, "cancelled");
    float* target = logits_.data();
    const auto done = other_->forward({batch.rows, batch.page_tables}, {{&target, 1}});
    if (!done.ok()) return done.status();
    if (failure != StatusCode::kOk) return Status(failure, "as told");
    return PassProfile{3.0, 0.0, {{PassStep::kDown, 1, 2.0, 4}}};
  }
  Result<void> reserve_pages(int n) override { return other_->reserve_pages(n); }
  Result<void> copy_page(PageId from, PageId to) override { return other_->copy_page(from, to); }
  void discard_page(PageId page) override { other_->discard_page(page); }

  StatusCode failure = StatusCode::kOk;  // of the calls to come
  Row row;                               // of the latest call, as the next two
  std::size_t n_rows = 0;
  std::size_t n_pages = 0;

 private:
  std::unique_ptr<Executor> other_;
  std::vector<float> logits_;
};

ProfilingExecutor& make_profiling(const Model& model) {
  auto& executor = model.impl()->executor;
  auto profiling = std::make_unique<ProfilingExecutor>(std::move(executor), model.info().vocab_size);
  ProfilingExecutor& made = *profiling;
  executor = std::move(profiling);
  return made;
}

TEST_CASE_FIXTURE(SessionTest, "a CPU has no profile, and a session without tokens none anywhere") {
  const Model model = open();
  Session session = new_session(model);
  const auto empty = session.profile();
  CHECK(empty.code() == StatusCode::kInvalidArgument);
  CHECK(empty.status().message() == "profile: the session has no tokens yet");
  REQUIRE(session.prefill(some_tokens(20)).ok());
  const Logits before = logits_of(session);
  const auto refused = session.profile();
  CHECK(refused.code() == StatusCode::kUnsupported);
  CHECK(refused.status().message().find("profile: ") == 0);
  CHECK(same_bits(logits_of(session), before));
  CHECK(session.size() == 20);
}

TEST_CASE_FIXTURE(SessionTest, "a profile is of the last token, and the session goes on as if it had not been") {
  const Model model = open();
  ProfilingExecutor& executor = make_profiling(model);
  int checked = 0;
  for (const int length : {1, 2, kKvPagePositions, kKvPagePositions + 1, kKvPagePositions + 2}) {
    Session session = new_session(model, {.context_length = kKvPagePositions + 22});
    Session expected = new_session(model);
    REQUIRE(session.prefill(some_tokens(length)).ok());
    REQUIRE(expected.prefill(some_tokens(length)).ok());
    for (int round = 0; round < 3; ++round, ++checked) {  // the first behind a prefill, the others behind a step
      const auto profile = session.profile();
      REQUIRE_MESSAGE(profile.ok(), profile.status().message());
      CHECK(profile->time_us == 3.0);
      CHECK(profile->steps.size() == 1);
      CHECK(executor.n_rows == 1);
      CHECK(executor.row.token == session.tokens().back());
      CHECK(executor.row.position == session.size() - 1);
      CHECK(executor.row.want == Want::kLogits);
      CHECK(executor.n_pages == static_cast<std::size_t>(pages_for(session.size())));
      CHECK(same_bits(logits_of(session), logits_of(expected)));
      REQUIRE(session.profile().ok());
      CHECK(steps_of(session, 5) == steps_of(expected, 5));
    }
  }
  MESSAGE("checked " << checked << " profiles and the tokens that follow");
}

TEST_CASE_FIXTURE(SessionTest, "a profile of a full, a forked and a restored session") {
  const Model model = open();
  make_profiling(model);
  Session full = new_session(model, {.context_length = 30});
  REQUIRE(full.prefill(some_tokens(30)).ok());
  const Logits of_full = logits_of(full);
  REQUIRE(full.profile().ok());
  CHECK(same_bits(logits_of(full), of_full));
  CHECK(full.step().code() == StatusCode::kContextFull);

  Session parent = new_session(model);
  REQUIRE(parent.prefill(some_tokens(70)).ok());
  const Logits of_parent = logits_of(parent);
  auto fork = parent.fork();
  REQUIRE(fork.ok());
  REQUIRE(fork->profile().ok());  // in a page of its own
  CHECK(same_bits(logits_of(parent), of_parent));
  CHECK(same_bits(logits_of(*fork), of_parent));
  CHECK(steps_of(*fork, 5) == steps_of(parent, 5));
}

TEST_CASE_FIXTURE(SessionTest, "a profile that fails or is cancelled leaves the session as it was") {
  const Model model = open();
  ProfilingExecutor& executor = make_profiling(model);
  Session session = new_session(model);
  REQUIRE(session.prefill(some_tokens(kKvPagePositions + 1)).ok());
  const Logits before = logits_of(session);
  for (const StatusCode code : {StatusCode::kDeviceError, StatusCode::kOutOfMemory, StatusCode::kCancelled}) {
    executor.failure = code;
    CHECK(session.profile().code() == code);
    CHECK(same_bits(logits_of(session), before));
  }
  executor.failure = StatusCode::kOk;
  session.cancel();
  CHECK(session.profile().code() == StatusCode::kCancelled);
  CHECK(session.profile().ok());  // the cancel is taken
  CHECK(same_bits(logits_of(session), before));
  CHECK(session.size() == kKvPagePositions + 1);
}

TEST_CASE("every step of a pass has a name of its own") {
  std::vector<std::string> names;
  for (std::int32_t i = 0; i <= static_cast<std::int32_t>(PassStep::kChoose); ++i) {
    names.emplace_back(to_string(static_cast<PassStep>(i)));
  }
  CHECK(names.front() == "embed");
  CHECK(std::find(names.begin(), names.end(), "unknown step") == names.end());
  std::sort(names.begin(), names.end());
  CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
  CHECK(std::string(to_string(static_cast<PassStep>(99))) == "unknown step");
}

}  // namespace
