// Profiles through the C API. The CPU makes none, so what a device would make is put behind the handle.
#include <inlay.h>

#include <doctest/doctest.h>

#include <string>

#include "../../capi/handles.hpp"
#include "capi/tiny.hpp"

namespace {

using namespace inlay::test;  // NOLINT(google-build-using-namespace)

TEST_CASE("a profile in C has the pass and its steps in their order") {
  const inlay_profile profile = {
      {12.5, 4e12, {{inlay::PassStep::kEmbed, -1, 1.5, 100}, {inlay::PassStep::kGateUp, 3, 2.5, 1ULL << 40}}}};
  inlay_pass_profile pass = {sizeof pass, 0, 0, 0};
  REQUIRE(inlay_profile_get_pass(&profile, &pass, nullptr) == INLAY_OK);
  CHECK(pass.time_us == 12.5);
  CHECK(pass.peak_bytes_per_second == 4e12);
  REQUIRE(pass.n_steps == 2);
  inlay_step_profile step = {sizeof step, 0, 0, 0, 0};
  REQUIRE(inlay_profile_get_step(&profile, 0, &step, nullptr) == INLAY_OK);
  CHECK(step.step == INLAY_STEP_EMBED);
  CHECK(step.layer == -1);
  CHECK(step.time_us == 1.5);
  CHECK(step.bytes == 100);
  REQUIRE(inlay_profile_get_step(&profile, 1, &step, nullptr) == INLAY_OK);
  CHECK(step.step == INLAY_STEP_GATE_UP);
  CHECK(step.layer == 3);
  CHECK(step.bytes == 1ULL << 40);
  Error error;
  CHECK(inlay_profile_get_step(&profile, 2, &step, error.out()) == INLAY_NOT_FOUND);
  CHECK(message(error) == "step 2: there are 2");
  CHECK(step.layer == 3);
  CHECK(std::string(inlay_pass_step_string(INLAY_STEP_GATE_UP)) == "gate+up");
  CHECK(std::string(inlay_pass_step_string(99)) == "unknown step");
}

TEST_CASE("a profile in C is refused on a CPU, and of a session without tokens") {
  const TinyFixture tiny;
  REQUIRE(tiny.opened);
  SessionHandle session;
  REQUIRE(inlay_session_create(tiny.model.get(), nullptr, session.out(), nullptr) == INLAY_OK);
  ProfileHandle profile;
  Error error;
  CHECK(inlay_session_profile(session.get(), profile.out(), error.out()) == INLAY_INVALID_ARGUMENT);
  CHECK(message(error) == "profile: the session has no tokens yet");
  REQUIRE(inlay_session_prefill(session.get(), kPrompt.data(), kPrompt.size(), nullptr) == INLAY_OK);
  const auto before = logits_of(session.get());
  CHECK(inlay_session_profile(session.get(), profile.out(), error.out()) == INLAY_UNSUPPORTED);
  CHECK(message(error).find("profile: ") == 0);
  CHECK(profile.get() == nullptr);
  CHECK(logits_of(session.get()) == before);
  CHECK(tokens_of(session.get()) == kPrompt);
}

}  // namespace
