// Passes that run ahead of the host, on a device without arithmetic: nothing that comes between two steps may change a
// token or use up a random number.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/model_impl.hpp"
#include "runtime/sessions.hpp"
#include "support/choosing_executor.hpp"

namespace {

using namespace inlay;
using namespace inlay::test;
using Chooser = ChoosingExecutor::Chooser;

const std::array<SamplingOptions, 8> kSamplings = {{
    {.temperature = 0.8F, .top_k = 40, .top_p = 0.95F, .seed = 1},
    {.temperature = 1.0F, .seed = 2},
    {},
    {.temperature = 2.0F, .top_p = 0.5F, .seed = 3},
    {.temperature = 0.7F, .min_p = 0.1F, .seed = 4},
    {.temperature = 1e6F, .seed = 5},
    {.temperature = 1.0F, .top_k = 1, .seed = 6},
    {.temperature = 0.9F, .repetition_penalty = 1.1F, .seed = 7},  // on the host
}};

/// A model whose device is a ChoosingExecutor.
class FakeModel : public SessionTest {
 public:
  explicit FakeModel(Chooser chooser = Chooser::kDevice, int batch_rows = 32) : model_(opened(batch_rows)) {
    auto executor = std::make_unique<ChoosingExecutor>(model_.info().vocab_size, chooser);
    device = executor.get();
    model_.impl()->executor = std::move(executor);
  }

  /// A session with a prompt of its own.
  [[nodiscard]] Session session(int number) const {
    Session session = empty(number);
    REQUIRE(session.prefill(some_tokens(3 + 20 * number, number)).ok());
    return session;
  }
  [[nodiscard]] Session empty(int number) const {
    return new_session(model_, {.context_length = 256, .sampling = kSamplings[static_cast<std::size_t>(number)]});
  }

  ChoosingExecutor* device = nullptr;

 private:
  [[nodiscard]] Model opened(int batch_rows) const {
    ModelOptions options;
    options.threads = 1;
    options.batch_rows = batch_rows;
    return open(options);
  }
  Model model_;
};

/// What the host chooses for a session.
std::vector<TokenId> host_tokens(int number, int n) {
  const FakeModel host(Chooser::kHost);
  Session session = host.session(number);
  std::vector<TokenId> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back(*session.step());
  return tokens;
}

Result<std::vector<TokenId>> step_all(std::span<Session* const> sessions) {
  Batch batch;
  for (Session* session : sessions) REQUIRE(batch.step(*session).ok());
  return batch.run();
}

TEST_CASE("a session alone chooses what the host would, and waits for no logits") {
  for (int number = 0; number < 7; ++number) {
    CAPTURE(number);
    const FakeModel fake;
    Session session = fake.session(number);
    const int before = fake.device->n_forward();
    std::vector<TokenId> tokens;
    for (int i = 0; i < 100; ++i) tokens.push_back(*session.step());
    CHECK(tokens == host_tokens(number, 100));
    CHECK(fake.device->n_forward() == before);  // the prompt's logits are for the first step
    CHECK(fake.device->n_started() == 100);     // one runs ahead
    CHECK(fake.device->violation() == "");
  }
}

TEST_CASE("sessions of a batch choose what each would alone, and wait for no logits") {
  const FakeModel fake;
  std::vector<Session> sessions;
  std::vector<Session*> all;
  std::vector<std::vector<TokenId>> found(7);
  for (int number = 0; number < 7; ++number) sessions.push_back(fake.session(number));
  for (Session& session : sessions) all.push_back(&session);
  const int before = fake.device->n_forward();
  for (int i = 0; i < 60; ++i) {
    const auto tokens = step_all(all);
    REQUIRE(tokens.ok());
    for (std::size_t row = 0; row < all.size(); ++row) found[row].push_back((*tokens)[row]);
  }
  for (int number = 0; number < 7; ++number) CHECK(found[static_cast<std::size_t>(number)] == host_tokens(number, 60));
  CHECK(fake.device->n_forward() == before);
  CHECK(fake.device->n_started() == 60);
  CHECK(fake.device->violation() == "");
}

TEST_CASE("the host chooses for a batch with penalties, of more rows than a pass takes, or on a device that does not") {
  const auto started = [](const FakeModel& fake, std::span<const int> numbers) {
    std::vector<Session> sessions;
    std::vector<Session*> all;
    for (const int number : numbers) sessions.push_back(fake.session(number));
    for (Session& session : sessions) all.push_back(&session);
    for (int i = 0; i < 4; ++i) REQUIRE(step_all(all).ok());
    CHECK(fake.device->violation() == "");
    return fake.device->n_started();
  };
  CHECK(started(FakeModel(), std::array{0, 1, 2}) == 4);
  CHECK(started(FakeModel(), std::array{0, 7}) == 0);
  CHECK(started(FakeModel(), std::array{7}) == 0);
  CHECK(started(FakeModel(), std::array{0, 1, 2, 3, 4, 5, 6, 0}) == 4);
  CHECK(started(FakeModel(), std::array{0, 1, 2, 3, 4, 5, 6, 0, 1}) == 0);
  CHECK(started(FakeModel(Chooser::kDevice, 2), std::array{0, 1}) == 4);
  CHECK(started(FakeModel(Chooser::kDevice, 2), std::array{0, 1, 2}) == 0);
  CHECK(started(FakeModel(Chooser::kHost), std::array{0, 1}) == 0);
}

TEST_CASE("other company forgets what runs ahead, and no token changes") {
  const FakeModel fake;
  std::array<Session, 3> sessions = {fake.session(0), fake.session(1), fake.session(3)};
  const std::array numbers = {0, 1, 3};
  std::array<std::vector<TokenId>, 3> found;
  const auto step = [&](std::vector<std::size_t> rows) {
    std::vector<Session*> chosen;
    for (const std::size_t row : rows) chosen.push_back(&sessions[row]);
    for (int i = 0; i < 3; ++i) {
      const auto tokens = step_all(chosen);
      REQUIRE(tokens.ok());
      for (std::size_t k = 0; k < rows.size(); ++k) found[rows[k]].push_back((*tokens)[k]);
    }
  };
  step({0, 1}), step({0, 1, 2}), step({1, 0}), step({0}), step({1}), step({2, 1}), step({0, 1, 2}), step({0, 1});
  for (std::size_t row = 0; row < 3; ++row) {
    CHECK(found[row] == host_tokens(numbers[row], static_cast<int>(found[row].size())));
  }
  CHECK(fake.device->violation() == "");
}

TEST_CASE("a cancel ends a run of a batch once, and what runs ahead is still there") {
  const FakeModel fake;
  Session first = fake.session(0);
  Session second = fake.session(1);
  const std::array<Session*, 2> both = {&first, &second};
  std::vector<TokenId> of_second;
  for (int i = 0; i < 5; ++i) of_second.push_back((*step_all(both))[1]);
  const int before = fake.device->n_forward();
  second.cancel();
  CHECK(step_all(both).code() == StatusCode::kCancelled);
  CHECK(second.size() == 23 + 5);
  for (int i = 0; i < 5; ++i) of_second.push_back((*step_all(both))[1]);
  CHECK(of_second == host_tokens(1, 10));
  CHECK(fake.device->n_forward() == before);
}

TEST_CASE("forks and saved sessions around a page's end go on as their parent, which runs ahead") {
  const std::vector<TokenId> expected = host_tokens(1, 110);  // behind a prompt of 23
  const auto check_steps = [&](Session& session, int n) {
    for (int i = 0; i < n; ++i) {
      const auto position = static_cast<std::size_t>(session.size() - 23);
      REQUIRE(*session.step() == expected[position]);
    }
  };
  for (int n = 36; n < 46; ++n) {  // tokens 59 to 69
    CAPTURE(n);
    const FakeModel fake;
    Session session = fake.session(1);
    check_steps(session, n);
    Session other = *session.fork();
    Session fork = *session.fork();
    check_steps(session, 4);
    REQUIRE(other.prefill(some_tokens(9, 5)).ok());
    check_steps(fork, 30);
    check_steps(session, 1);
    const auto state = session.save();
    REQUIRE(state.ok());
    check_steps(session, 20);
    Session copy = fake.empty(0);
    REQUIRE(copy.restore(*state).ok());
    check_steps(copy, 30);
    check_steps(session, 5);
    CHECK(fake.device->violation() == "");
  }
}

/// The same calls on a model whose device chooses tokens and on one where the host does.
class Lockstep {
 public:
  explicit Lockstep(unsigned seed) : random_(seed) {
    for (int i = 0; i < kSessions; ++i) sessions_.push_back({device_.session(i), host_.session(i)});
  }

  void do_something() {
    if (number(3) == 0) {
      disturb(some());
    } else {
      run_batches();
    }
  }

  void compare() {
    REQUIRE(device_.device->violation() == "");
    for (Pair& pair : sessions_) {
      REQUIRE(std::equal(pair.device.tokens().begin(), pair.device.tokens().end(), pair.host.tokens().begin(),
                         pair.host.tokens().end()));
    }
    if (number(8) != 0) return;  // looking forgets what runs ahead
    Pair& pair = some();
    REQUIRE(*pair.device.save() == *pair.host.save());  // the random stream, too
  }

  [[nodiscard]] int n_started() const { return device_.device->n_started(); }
  [[nodiscard]] int n_tokens() const { return n_tokens_; }
  [[nodiscard]] int n_failures() const { return n_failures_; }

 private:
  static constexpr int kSessions = 8;

  struct Pair {
    Session device;
    Session host;
  };

  int number(int end) { return static_cast<int>(random_() % static_cast<unsigned>(end)); }
  Pair& some() { return sessions_[static_cast<std::size_t>(number(kSessions))]; }

  /// Calls on both, unless the device was made to fail: then everything must be as before.
  template <class Call>
  void on_both(int fail, const Call& call) {
    device_.device->fail_after(fail);
    const auto found = call(&Pair::device);
    device_.device->fail_after(-1);
    if (found.code() == StatusCode::kDeviceError) {
      ++n_failures_;
      return;
    }
    const auto expected = call(&Pair::host);
    REQUIRE(found.code() == expected.code());
    if constexpr (requires { found->size(); }) {
      if (found.ok()) REQUIRE(*found == *expected);
    }
  }

  [[nodiscard]] int failure() { return number(2) == 0 ? number(6) : -1; }

  /// Something that is no step of a batch.
  void disturb(Pair& pair) {
    switch (number(8)) {
      case 0:
        return compare_logits(pair);
      case 1:
        return prefill(pair, failure());
      case 2:
        return rewind(pair);
      case 3:
        return fork(some(), pair);
      case 4:
        return restore(pair, some());
      case 5:
        return set_sampling(pair);
      case 6:
        return cancel(pair);
      default:
        return renew(pair);
    }
  }

  void compare_logits(Pair& pair) {
    if (pair.host.size() > 0) REQUIRE(same_bits(logits_of(pair.device), logits_of(pair.host)));
  }
  void prefill(Pair& pair, int fail) {
    const std::vector<TokenId> tokens = some_tokens(1 + number(70), number(100));
    on_both(fail, [&](auto side) { return (pair.*side).prefill(tokens); });
  }
  void rewind(Pair& pair) {
    const int length = number(pair.host.size() + 1);
    on_both(-1, [&](auto side) { return (pair.*side).rewind(length); });
  }
  void fork(Pair& to, Pair& from) {
    if (&to != &from) to = {*from.device.fork(), *from.host.fork()};
  }
  void restore(Pair& to, Pair& from) {
    const auto state = from.device.save();
    REQUIRE(state.ok());
    REQUIRE(*state == *from.host.save());
    on_both(-1, [&](auto side) { return (to.*side).restore(*state); });
  }
  void set_sampling(Pair& pair) {
    const SamplingOptions& sampling = kSamplings[static_cast<std::size_t>(number(8))];
    on_both(-1, [&](auto side) { return (pair.*side).set_sampling(sampling); });
  }
  void cancel(Pair& pair) {
    if (pair.host.size() == 0 || pair.host.size() == pair.host.context_length()) return;  // the step would not look
    pair.device.cancel();
    pair.host.cancel();
    on_both(-1, [&](auto side) -> Result<std::vector<TokenId>> {
      const auto token = (pair.*side).step();
      if (!token.ok()) return token.status();
      return std::vector{*token};
    });
  }
  void renew(Pair& pair) {
    const int which = number(7);
    pair = {device_.session(which), host_.session(which)};
  }

  /// Some runs over the same sessions. In one of them a device call may fail, an entry may be a prompt, and between
  /// them something may come.
  void run_batches() {
    std::vector<std::size_t> rows(kSessions);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = i;
    std::shuffle(rows.begin(), rows.end(), random_);
    rows.resize(static_cast<std::size_t>(1 + number(4)));
    const int prompted = number(6) == 0 ? number(3) : -1;  // the run in which the first entry is a prompt
    const int failing = number(6);
    for (int run = 0; run < 6; ++run) {
      if (number(5) == 0) disturb(sessions_[rows.back()]);
      on_both(run == failing ? failure() : -1, [&](auto side) {
        Batch batch;
        for (const std::size_t row : rows) {
          Session& session = sessions_[row].*side;
          const bool is_prompt = run == prompted && row == rows.front();
          REQUIRE((is_prompt ? batch.prefill(session, some_tokens(3)) : batch.step(session)).ok());
        }
        return batch.run();
      });
      n_tokens_ += static_cast<int>(rows.size());
    }
  }

  FakeModel device_{Chooser::kDevice};
  FakeModel host_{Chooser::kHost};
  std::mt19937 random_;
  std::vector<Pair> sessions_;
  int n_tokens_ = 0;
  int n_failures_ = 0;
};

TEST_CASE("whatever comes between steps, sessions are what they are on a device that chooses no tokens") {
  int started = 0;
  int tokens = 0;
  int failures = 0;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    CAPTURE(seed);
    Lockstep lockstep(seed);
    for (int i = 0; i < 300; ++i) {
      CAPTURE(i);
      lockstep.do_something();
      lockstep.compare();
    }
    started += lockstep.n_started();
    tokens += lockstep.n_tokens();
    failures += lockstep.n_failures();
  }
  CHECK(started > 1000);
  CHECK(failures > 50);
  MESSAGE(tokens << " steps, " << started << " passes of which ran ahead, " << failures << " calls made to fail");
}

}  // namespace
