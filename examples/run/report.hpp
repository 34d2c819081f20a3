// What inlay-run says about a finished generation.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <inlay/inlay.hpp>

namespace inlay_run {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

struct Timings {
  Milliseconds load{};
  Milliseconds prefill{};
  Milliseconds decode{};  // from the first generated token to the last: n - 1 forward passes
};

struct Report {
  std::string model_path;
  std::vector<inlay::TokenId> prompt_tokens;
  inlay::Generation generation;
  Timings timings;
};

/// One JSON object, without a line end.
std::string to_json(const Report& report, const inlay::Model& model);

/// One line for people: tokens per second, backend, kernels and threads.
std::string closing_line(const Report& report, const inlay::Model& model);

}  // namespace inlay_run
