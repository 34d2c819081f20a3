// C API: profiles of a forward pass.
#include <cstddef>
#include <string>
#include <utility>

#include <inlay/inlay.hpp>

#include "call.hpp"
#include "handles.hpp"

using inlay::Status;
using inlay::StatusCode;
using inlay::capi::call;
using inlay::capi::check_output;
using inlay::capi::require;
using inlay::capi::write_struct;

const char* inlay_pass_step_string(inlay_pass_step step) {
  return inlay::to_string(static_cast<inlay::PassStep>(step));
}

inlay_status inlay_session_profile(inlay_session* session, inlay_profile** profile, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{session, "session"}, {profile, "profile"}}));
    auto made = session->value.profile();
    INLAY_CAPI_TRY(made.status());
    *profile = new inlay_profile{*std::move(made)};
    return {};
  });
}

inlay_status inlay_profile_get_pass(const inlay_profile* profile, inlay_pass_profile* pass, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{profile, "profile"}}));
    INLAY_CAPI_TRY(check_output(pass, "pass"));
    const inlay::PassProfile& value = profile->value;
    inlay_pass_profile values = {};
    values.time_us = value.time_us;
    values.peak_bytes_per_second = value.peak_bytes_per_second;
    values.n_steps = value.steps.size();
    write_struct(values, pass);
    return {};
  });
}

inlay_status inlay_profile_get_step(const inlay_profile* profile, size_t index, inlay_step_profile* step,
                                    inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{profile, "profile"}}));
    INLAY_CAPI_TRY(check_output(step, "step"));
    const auto& steps = profile->value.steps;
    if (index >= steps.size()) {
      return {StatusCode::kNotFound, "step " + std::to_string(index) + ": there are " + std::to_string(steps.size())};
    }
    inlay_step_profile values = {};
    values.step = static_cast<inlay_pass_step>(steps[index].step);
    values.layer = steps[index].layer;
    values.time_us = steps[index].time_us;
    values.bytes = steps[index].bytes;
    write_struct(values, step);
    return {};
  });
}

void inlay_profile_free(inlay_profile* profile) { delete profile; }
