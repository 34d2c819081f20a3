#include <inlay.h>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../../capi/structs.hpp"

// A struct with a history: version 1 ended before `added`.
struct Grown {
  std::size_t struct_size;
  std::int64_t old_field;
  std::int64_t added;
};

template <>
struct inlay::capi::StructTraits<Grown> {
  static constexpr const char* kName = "grown";
  static constexpr std::size_t kFirstSize = 16;
};

namespace {

using inlay::StatusCode;
using inlay::capi::init_struct;
using inlay::capi::read_struct;
using inlay::capi::write_struct;

constexpr Grown kDefaults = {sizeof(Grown), 1, 2};

/// What a caller with a larger header passes.
struct Newer {
  Grown known;
  std::int64_t unknown;
};

TEST_CASE("options of an older caller keep their defaults in what it does not know") {
  const Grown caller = {16, 10, 99};  // the last field lies behind the caller's struct
  const auto read = read_struct(&caller, kDefaults);
  REQUIRE(read.ok());
  CHECK(read->old_field == 10);
  CHECK(read->added == 2);
  CHECK(read->struct_size == sizeof(Grown));
}

TEST_CASE("options of a newer caller are accepted while it does not use what is unknown here") {
  Newer caller = {{sizeof(Newer), 10, 11}, 0};
  const auto read = read_struct(&caller.known, kDefaults);
  REQUIRE(read.ok());
  CHECK(read->added == 11);

  caller.unknown = 1;
  const auto refused = read_struct(&caller.known, kDefaults);
  CHECK(refused.code() == StatusCode::kInvalidArgument);
  CHECK(refused.status().message() == "grown: sets a field that this version does not know, at byte 24");
}

TEST_CASE("no options are the defaults, and absurd sizes are refused by name") {
  const auto none = read_struct<Grown>(nullptr, kDefaults);
  REQUIRE(none.ok());
  CHECK(none->old_field == 1);
  for (const std::size_t size : {std::size_t{0}, std::size_t{8}, std::size_t{15}, std::size_t{4097}, ~std::size_t{0}}) {
    const Grown caller = {size, 0, 0};
    const auto refused = read_struct(&caller, kDefaults);
    CHECK(refused.code() == StatusCode::kInvalidArgument);
    CHECK(refused.status().message().find("grown.struct_size: expected 16 to 4096, found ") == 0);
  }
}

TEST_CASE("output structs are filled as far as the caller's size goes") {
  Grown old_caller = {16, -1, -1};
  write_struct(kDefaults, &old_caller);
  CHECK(old_caller.struct_size == 16);
  CHECK(old_caller.old_field == 1);
  CHECK(old_caller.added == -1);  // not the caller's

  Newer new_caller = {{sizeof(Newer), -1, -1}, -1};
  write_struct(kDefaults, &new_caller.known);
  CHECK(new_caller.known.struct_size == sizeof(Newer));
  CHECK(new_caller.known.added == 2);
  CHECK(new_caller.unknown == 0);
}

TEST_CASE("_init fills no byte more than the caller has") {
  Grown caller = {-1UL, -1, -1};
  init_struct(&caller, 16, kDefaults);
  CHECK(caller.struct_size == 16);
  CHECK(caller.old_field == 1);
  CHECK(caller.added == -1);
  init_struct<Grown>(nullptr, 16, kDefaults);
  init_struct(&caller, 7, kDefaults);
  CHECK(caller.struct_size == 16);
}

TEST_CASE("the options of the API start from the documented defaults") {
  inlay_sampling_options sampling;
  std::memset(&sampling, 0xFF, sizeof sampling);
  inlay_sampling_options_init(&sampling, sizeof sampling);
  CHECK(sampling.struct_size == sizeof sampling);
  CHECK(sampling.seed == 0);
  CHECK(sampling.temperature == 0.0F);
  CHECK(sampling.top_k == 0);
  CHECK(sampling.top_p == 1.0F);
  CHECK(sampling.min_p == 0.0F);
  CHECK(sampling.repetition_penalty == 1.0F);
  CHECK(sampling.penalty_window == 64);

  inlay_model_options model;
  inlay_model_options_init(&model, sizeof model);
  CHECK(model.batch_rows == 512);
  CHECK(model.threads == 0);
  CHECK((model.progress == nullptr));

  inlay_generate_options generate;
  inlay_generate_options_init(&generate, sizeof generate);
  CHECK(generate.max_tokens == 256);
  CHECK((generate.on_token == nullptr));

  inlay_session_options session;
  inlay_session_options_init(&session, sizeof session);
  CHECK(session.sampling == nullptr);
  CHECK(session.context_length == 0);
}

}  // namespace
