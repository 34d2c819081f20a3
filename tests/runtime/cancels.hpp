// Prompts that another thread cancels, and how long that takes.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

#include "runtime/sessions.hpp"

namespace inlay::test {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Evaluates `tokens` on the session again and again, each time cancelled a little later in the `whole` seconds that
/// they take. The session must be as before then. The sorted waits for the call's end after a cancel, in seconds;
/// without those of calls that were done before it, as the machine was busy with other things.
inline std::vector<double> cancel_waits(Session& session, std::span<const TokenId> tokens, double whole) {
  using Clock = std::chrono::steady_clock;
  const std::vector<TokenId> before(session.tokens().begin(), session.tokens().end());
  const Logits logits = logits_of(session);
  std::vector<double> waits;
  for (int i = 0; i < 9; ++i) {
    Clock::time_point cancelled;
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::duration<double>(whole * (0.1 + 0.05 * i)));
      cancelled = Clock::now();
      session.cancel();
    });
    const auto done = session.prefill(tokens);
    const auto ended = Clock::now();
    other.join();
    if (done.ok()) {
      REQUIRE(session.step().code() == StatusCode::kCancelled);
      REQUIRE(session.rewind(static_cast<std::int32_t>(before.size())).ok());
      continue;
    }
    REQUIRE(done.code() == StatusCode::kCancelled);
    waits.push_back(std::chrono::duration<double>(ended - cancelled).count());
    REQUIRE(std::equal(before.begin(), before.end(), session.tokens().begin(), session.tokens().end()));
    REQUIRE(same_bits(logits_of(session), logits));
  }
  REQUIRE(waits.size() >= 3);
  std::sort(waits.begin(), waits.end());
  return waits;
}

}  // namespace inlay::test
