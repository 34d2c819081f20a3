// What the C API adds to a call: the same calls through both APIs on one model.
//   inlay_c_api_benchmarks MODEL.gguf
#include <benchmark/benchmark.h>
#include <inlay.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <iterator>
#include <memory>
#include <utility>

#include <inlay/inlay.hpp>

namespace {

/// The same prompt in a session of each API.
struct Sessions {
  explicit Sessions(const char* path) {
    inlay_model_options options;
    inlay_model_options_init(&options, sizeof options);
    options.threads = 2;
    if (inlay_model_open(path, &options, &model, nullptr) != INLAY_OK) return;
    if (inlay_session_create(model, nullptr, &c, nullptr) != INLAY_OK) return;
    if (inlay_session_prefill(c, kPrompt, std::size(kPrompt), nullptr) != INLAY_OK) return;
    auto opened = inlay::Model::open(path, {.threads = 2});
    if (!opened.ok()) return;
    auto session = inlay::Session::create(*opened);
    if (!session.ok() || !session->prefill(kPrompt).ok()) return;
    cpp = std::make_unique<inlay::Session>(*std::move(session));
  }
  ~Sessions() {
    inlay_session_free(c);
    inlay_model_close(model);
  }
  Sessions(const Sessions&) = delete;
  Sessions& operator=(const Sessions&) = delete;

  static constexpr inlay_token kPrompt[] = {1, 2, 3, 4, 5, 6, 7, 8};
  inlay_model* model = nullptr;
  inlay_session* c = nullptr;
  std::unique_ptr<inlay::Session> cpp;
};

void c_call(benchmark::State& state, Sessions& sessions) {
  std::int32_t length = 0;
  for ([[maybe_unused]] auto _ : state) {
    if (inlay_session_context_length(sessions.c, &length, nullptr) != INLAY_OK) state.SkipWithError("failed");
    benchmark::DoNotOptimize(length);
  }
}

void cpp_call(benchmark::State& state, Sessions& sessions) {
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(sessions.cpp->context_length());
}

/// A decode step, always behind the prompt.
void c_step(benchmark::State& state, Sessions& sessions) {
  inlay_token token = 0;
  const float* logits = nullptr;
  std::size_t size = 0;
  for ([[maybe_unused]] auto _ : state) {
    if (inlay_session_step(sessions.c, &token, nullptr) != INLAY_OK ||
        inlay_session_logits(sessions.c, &logits, &size, nullptr) != INLAY_OK ||
        inlay_session_rewind(sessions.c, std::size(Sessions::kPrompt), nullptr) != INLAY_OK) {
      state.SkipWithError("failed");
    }
  }
}

void cpp_step(benchmark::State& state, Sessions& sessions) {
  for ([[maybe_unused]] auto _ : state) {
    if (!sessions.cpp->step().ok() || !sessions.cpp->logits().ok() ||
        !sessions.cpp->rewind(std::size(Sessions::kPrompt)).ok()) {
      state.SkipWithError("failed");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (argc != 2) {
    std::fprintf(stderr, "usage: inlay_c_api_benchmarks MODEL.gguf\n");
    return 2;
  }
  Sessions sessions(argv[1]);
  if (sessions.cpp == nullptr) {
    std::fprintf(stderr, "%s cannot be opened\n", argv[1]);
    return 1;
  }
  benchmark::RegisterBenchmark("call/c", c_call, std::ref(sessions));
  benchmark::RegisterBenchmark("call/cpp", cpp_call, std::ref(sessions));
  benchmark::RegisterBenchmark("step/c", c_step, std::ref(sessions))->UseRealTime();
  benchmark::RegisterBenchmark("step/cpp", cpp_step, std::ref(sessions))->UseRealTime();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
