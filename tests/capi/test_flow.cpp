#include <inlay.h>

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include <inlay/inlay.hpp>

#include "capi/c_flow.h"
#include "capi/tiny.hpp"

namespace {

using namespace inlay::test;  // NOLINT(google-build-using-namespace)

/// A session with the prompt evaluated.
void start(const TinyFixture& tiny, SessionHandle& session) {
  REQUIRE(tiny.opened);
  REQUIRE(inlay_session_create(tiny.model.get(), nullptr, session.out(), nullptr) == INLAY_OK);
  REQUIRE(inlay_session_prefill(session.get(), kPrompt.data(), kPrompt.size(), nullptr) == INLAY_OK);
}

TEST_CASE("a program in C uses it from opening to generated text") {
  const TinyFixture tiny;
  const char* failed = inlay_test_c_flow(tiny.path.c_str());
  CHECK_MESSAGE(failed == nullptr, failed);
}

TEST_CASE("what a model is and takes is what the C++ API says") {
  const TinyFixture tiny;
  REQUIRE(tiny.opened);
  const auto model = inlay::Model::open(tiny.path);
  REQUIRE(model.ok());
  inlay_model_info info = {};
  info.struct_size = sizeof info;
  REQUIRE(inlay_model_get_info(tiny.model.get(), &info, nullptr) == INLAY_OK);
  CHECK(info.architecture == model->info().architecture);
  CHECK(info.quantization == model->info().quantization);
  CHECK(info.parameters == model->info().parameters);
  CHECK(info.file_bytes == model->info().file_bytes);
  CHECK(info.vocab_size == model->info().vocab_size);
  CHECK(info.context_length == model->info().context_length);
  CHECK(info.n_layers == model->info().n_layers);
  CHECK(info.n_kv_heads == model->info().n_kv_heads);
  CHECK(info.bos_token == model->tokenizer().bos());
  CHECK(info.eos_token == model->tokenizer().eos());

  inlay_memory_estimate estimate = {sizeof estimate, 0, 0, 0};
  REQUIRE(inlay_model_estimate(tiny.path.c_str(), 32, nullptr, &estimate, nullptr) == INLAY_OK);
  const auto expected = inlay::Model::estimate(tiny.path, 32);
  REQUIRE(expected.ok());
  CHECK(estimate.weight_bytes == expected->weight_bytes);
  CHECK(estimate.activation_bytes == expected->activation_bytes);
  CHECK(estimate.kv_bytes == expected->kv_bytes);
  CHECK(estimate.kv_bytes > 0);
}

TEST_CASE("a file that cannot be opened leaves the handle alone") {
  auto* const untouched = reinterpret_cast<inlay_model*>(std::uintptr_t{64});
  inlay_model* model = untouched;
  Error error;
  CHECK(inlay_model_open("/no/such/model.gguf", nullptr, &model, error.out()) == INLAY_NOT_FOUND);
  CHECK(message(error).find("/no/such/model.gguf") != std::string::npos);
  CHECK(model == untouched);
  const TempDir dir;
  CHECK(inlay_model_open(dir.path().c_str(), nullptr, &model, error.out()) == INLAY_IO_ERROR);
  CHECK(model == untouched);
}

TEST_CASE("arrays: ask for the size, too small a buffer, the exact one") {
  const TinyFixture tiny;
  REQUIRE(tiny.opened);
  const std::string text = "hello world";
  std::size_t size = 0;
  REQUIRE(inlay_tokenize(tiny.model.get(), text.data(), text.size(), INLAY_ADD_SPECIAL, nullptr, 0, &size, nullptr) ==
          INLAY_OK);
  REQUIRE(size > 1);
  const std::size_t n_tokens = size;
  std::vector<inlay_token> tokens(n_tokens, -7);
  Error error;
  CHECK(inlay_tokenize(tiny.model.get(), text.data(), text.size(), INLAY_ADD_SPECIAL, tokens.data(), n_tokens - 1,
                       &size, error.out()) == INLAY_BUFFER_TOO_SMALL);
  CHECK(size == n_tokens);
  CHECK(tokens == std::vector<inlay_token>(n_tokens, -7));
  CHECK(message(error).find("capacity: ") == 0);
  REQUIRE(inlay_tokenize(tiny.model.get(), text.data(), text.size(), INLAY_ADD_SPECIAL, tokens.data(), n_tokens, &size,
                         error.out()) == INLAY_OK);
  CHECK(error.get() == nullptr);
  const auto model = inlay::Model::open(tiny.path);
  CHECK(tokens == *model->tokenizer().encode(text));

  REQUIRE(inlay_detokenize(tiny.model.get(), tokens.data(), n_tokens, 0, nullptr, 0, &size, nullptr) == INLAY_OK);
  std::string decoded(size, '?');
  REQUIRE(inlay_detokenize(tiny.model.get(), tokens.data(), n_tokens, 0, decoded.data(), size, &size, nullptr) ==
          INLAY_OK);
  CHECK(decoded == *model->tokenizer().decode(tokens));
  std::string piece(64, '?');
  REQUIRE(inlay_token_piece(tiny.model.get(), tokens.back(), 0, piece.data(), piece.size(), &size, nullptr) ==
          INLAY_OK);
  CHECK(piece.substr(0, size) == *model->tokenizer().piece(tokens.back()));
  std::int32_t is_end = -1;
  REQUIRE(inlay_token_is_end(tiny.model.get(), model->tokenizer().eos(), &is_end, nullptr) == INLAY_OK);
  CHECK(is_end == 1);
  REQUIRE(inlay_token_is_end(tiny.model.get(), tokens.back(), &is_end, nullptr) == INLAY_OK);
  CHECK(is_end == 0);
}

TEST_CASE("an empty text is no tokens, and bad ids are refused") {
  const TinyFixture tiny;
  REQUIRE(tiny.opened);
  std::size_t size = 9;
  CHECK(inlay_tokenize(tiny.model.get(), nullptr, 0, 0, nullptr, 0, &size, nullptr) == INLAY_OK);
  CHECK(size == 0);
  const inlay_token bad = 1 << 30;
  CHECK(inlay_detokenize(tiny.model.get(), &bad, 1, 0, nullptr, 0, &size, nullptr) == INLAY_INVALID_ARGUMENT);
  CHECK(inlay_token_piece(tiny.model.get(), -1, 0, nullptr, 0, &size, nullptr) == INLAY_INVALID_ARGUMENT);
}

TEST_CASE("prefill, step, fork and rewind do what the C++ API does") {
  const TinyFixture tiny;
  SessionHandle session;
  start(tiny, session);
  const auto model = inlay::Model::open(tiny.path);
  auto expected = inlay::Session::create(*model);
  REQUIRE(expected->prefill(kPrompt).ok());
  const std::vector<float> first = logits_of(session.get());
  const auto expected_logits = expected->logits();
  CHECK(first == std::vector<float>(expected_logits->begin(), expected_logits->end()));

  for (int i = 0; i < 4; ++i) {
    inlay_token token = -1;
    REQUIRE(inlay_session_step(session.get(), &token, nullptr) == INLAY_OK);
    CHECK(token == *expected->step());
  }
  SessionHandle fork;
  REQUIRE(inlay_session_fork(session.get(), fork.out(), nullptr) == INLAY_OK);
  CHECK(tokens_of(fork.get()) == tokens_of(session.get()));
  REQUIRE(inlay_session_rewind(fork.get(), static_cast<std::int32_t>(kPrompt.size()), nullptr) == INLAY_OK);
  CHECK(tokens_of(fork.get()) == kPrompt);
  CHECK(logits_of(fork.get()) == first);
  CHECK(tokens_of(session.get()).size() == kPrompt.size() + 4);

  Error error;
  CHECK(inlay_session_rewind(fork.get(), 100, error.out()) == INLAY_INVALID_ARGUMENT);
  CHECK(message(error).find("rewind") != std::string::npos);
  std::int32_t context_length = 0;
  REQUIRE(inlay_session_context_length(session.get(), &context_length, nullptr) == INLAY_OK);
  CHECK(context_length == model->info().context_length);
}

TEST_CASE("a full context, a cancelled session and bad sampling options are statuses") {
  const TinyFixture tiny;
  REQUIRE(tiny.opened);
  inlay_session_options options;
  inlay_session_options_init(&options, sizeof options);
  options.context_length = 4;
  SessionHandle session;
  REQUIRE(inlay_session_create(tiny.model.get(), &options, session.out(), nullptr) == INLAY_OK);
  CHECK(inlay_session_prefill(session.get(), kPrompt.data(), 5, nullptr) == INLAY_CONTEXT_FULL);
  CHECK(tokens_of(session.get()).empty());
  REQUIRE(inlay_session_prefill(session.get(), kPrompt.data(), 3, nullptr) == INLAY_OK);
  inlay_session_cancel(session.get());
  inlay_token token = -1;
  CHECK(inlay_session_step(session.get(), &token, nullptr) == INLAY_CANCELLED);
  CHECK(token == -1);
  CHECK(inlay_session_step(session.get(), &token, nullptr) == INLAY_OK);
  CHECK(inlay_session_step(session.get(), &token, nullptr) == INLAY_CONTEXT_FULL);

  inlay_sampling_options sampling;
  inlay_sampling_options_init(&sampling, sizeof sampling);
  sampling.temperature = -1.0F;
  Error error;
  CHECK(inlay_session_set_sampling(session.get(), &sampling, error.out()) == INLAY_INVALID_ARGUMENT);
  CHECK(message(error).find("temperature") != std::string::npos);
  CHECK(inlay_session_set_sampling(session.get(), nullptr, nullptr) == INLAY_OK);
}

TEST_CASE("the same seed gives the same tokens") {
  const TinyFixture tiny;
  inlay_sampling_options sampling;
  inlay_sampling_options_init(&sampling, sizeof sampling);
  sampling.temperature = 2.0F;
  std::vector<std::vector<inlay_token>> runs;
  for (const std::uint64_t seed : {5, 5, 6}) {
    SessionHandle session;
    start(tiny, session);
    sampling.seed = seed;
    REQUIRE(inlay_session_set_sampling(session.get(), &sampling, nullptr) == INLAY_OK);
    for (int i = 0; i < 16; ++i) {
      inlay_token token = -1;
      REQUIRE(inlay_session_step(session.get(), &token, nullptr) == INLAY_OK);
    }
    runs.push_back(tokens_of(session.get()));
  }
  CHECK(runs[0] == runs[1]);
  CHECK(runs[0] != runs[2]);
}

struct Stopper {
  inlay_session* session = nullptr;  // cancelled, if set, instead of stopping
  int calls_left = 3;
};

inlay_flow stop_after(void* user_data, inlay_token /*token*/, const char* /*text*/, size_t /*text_size*/) {
  auto* stopper = static_cast<Stopper*>(user_data);
  if (--stopper->calls_left > 0) return INLAY_CONTINUE;
  if (stopper->session == nullptr) return INLAY_STOP;
  inlay_session_cancel(stopper->session);
  return INLAY_CONTINUE;
}

TEST_CASE("a callback stops a generation, or cancels it") {
  const TinyFixture tiny;
  for (const bool cancels : {false, true}) {
    SessionHandle session;
    start(tiny, session);
    Stopper stopper;
    if (cancels) stopper.session = session.get();
    inlay_generate_options options;
    inlay_generate_options_init(&options, sizeof options);
    options.on_token = stop_after;
    options.on_token_user_data = &stopper;
    GenerationHandle generation;
    REQUIRE(inlay_session_generate(session.get(), &options, generation.out(), nullptr) == INLAY_OK);
    CHECK(inlay_generation_finish_reason(generation.get()) ==
          (cancels ? INLAY_FINISH_CANCELLED : INLAY_FINISH_STOPPED));
    std::size_t n_tokens = 0;
    REQUIRE(inlay_generation_tokens(generation.get(), &n_tokens) != nullptr);
    CHECK(n_tokens == 3);
  }
}

TEST_CASE("a generation fails before a prefill and with absurd limits") {
  const TinyFixture tiny;
  REQUIRE(tiny.opened);
  SessionHandle session;
  REQUIRE(inlay_session_create(tiny.model.get(), nullptr, session.out(), nullptr) == INLAY_OK);
  inlay_generation* generation = nullptr;
  CHECK(inlay_session_generate(session.get(), nullptr, &generation, nullptr) == INLAY_INVALID_ARGUMENT);
  inlay_generate_options options;
  inlay_generate_options_init(&options, sizeof options);
  options.max_tokens = -5;
  CHECK(inlay_session_generate(session.get(), &options, &generation, nullptr) == INLAY_INVALID_ARGUMENT);
  CHECK(generation == nullptr);
}

TEST_CASE("a batch evaluates several sessions as each alone") {
  const TinyFixture tiny;
  SessionHandle one;
  SessionHandle two;
  start(tiny, one);
  REQUIRE(inlay_session_create(tiny.model.get(), nullptr, two.out(), nullptr) == INLAY_OK);
  SessionHandle alone;
  start(tiny, alone);
  inlay_token expected = -1;
  REQUIRE(inlay_session_step(alone.get(), &expected, nullptr) == INLAY_OK);

  BatchHandle batch;
  REQUIRE(inlay_batch_create(batch.out(), nullptr) == INLAY_OK);
  REQUIRE(inlay_batch_step(batch.get(), one.get(), nullptr) == INLAY_OK);
  REQUIRE(inlay_batch_prefill(batch.get(), two.get(), kPrompt.data(), kPrompt.size(), nullptr) == INLAY_OK);
  std::size_t size = 0;
  REQUIRE(inlay_batch_run(batch.get(), nullptr, 0, &size, nullptr) == INLAY_OK);
  CHECK(size == 2);
  std::vector<inlay_token> out(2, -9);
  Error error;
  CHECK(inlay_batch_run(batch.get(), out.data(), 1, &size, error.out()) == INLAY_BUFFER_TOO_SMALL);
  CHECK(tokens_of(two.get()).empty());
  REQUIRE(inlay_batch_run(batch.get(), out.data(), 2, &size, error.out()) == INLAY_OK);
  CHECK(out == std::vector<inlay_token>{expected, -1});
  CHECK(tokens_of(two.get()) == kPrompt);
  REQUIRE(inlay_batch_run(batch.get(), nullptr, 0, &size, nullptr) == INLAY_OK);
  CHECK(size == 0);
}

struct HostCalls {
  std::atomic<int> parts = 0;
  int loops = 0;
  int progress = 0;
};

void host_parallel_for(void* user_data, std::int32_t count, inlay_task_fn task, void* task_data) {
  auto* calls = static_cast<HostCalls*>(user_data);
  ++calls->loops;
  for (std::int32_t i = count - 1; i >= 0; --i) {
    task(task_data, i);
    ++calls->parts;
  }
}

inlay_flow count_progress(void* user_data, float fraction) {
  CHECK(fraction >= 0.0F);
  CHECK(fraction <= 1.0F);
  ++static_cast<HostCalls*>(user_data)->progress;
  return INLAY_CONTINUE;
}

TEST_CASE("the host's threads are used") {
  const TinyFixture tiny;
  SessionHandle expected;
  start(tiny, expected);
  HostCalls calls;
  inlay_model_options options;
  inlay_model_options_init(&options, sizeof options);
  options.threads = 3;
  options.parallel_for = host_parallel_for;
  options.parallel_for_user_data = &calls;
  options.progress = count_progress;
  options.progress_user_data = &calls;
  options.log = [](void*, inlay_log_level, const char*, size_t) {};
  options.cpu_isa = "generic";
  ModelHandle model;
  REQUIRE(inlay_model_open(tiny.path.c_str(), &options, model.out(), nullptr) == INLAY_OK);
  CHECK(calls.progress > 0);
  SessionHandle session;
  REQUIRE(inlay_session_create(model.get(), nullptr, session.out(), nullptr) == INLAY_OK);
  REQUIRE(inlay_session_prefill(session.get(), kPrompt.data(), kPrompt.size(), nullptr) == INLAY_OK);
  CHECK(calls.loops > 0);
  CHECK(calls.parts == 3 * calls.loops);
  CHECK(logits_of(session.get()).size() == logits_of(expected.get()).size());
  MESSAGE(calls.loops, " loops of 3 parts, ", calls.progress, " progress calls");
}

TEST_CASE("opening stops when the progress callback says so") {
  const TinyFixture tiny;
  inlay_model_options options;
  inlay_model_options_init(&options, sizeof options);
  options.progress = [](void*, float) -> inlay_flow { return INLAY_STOP; };
  inlay_model* model = nullptr;
  CHECK(inlay_model_open(tiny.path.c_str(), &options, &model, nullptr) == INLAY_CANCELLED);
  CHECK(model == nullptr);
  options.progress = nullptr;
  options.cpu_isa = "no-such-isa";
  Error error;
  CHECK(inlay_model_open(tiny.path.c_str(), &options, &model, error.out()) == INLAY_INVALID_ARGUMENT);
  CHECK(message(error).find("no-such-isa") != std::string::npos);
}

TEST_CASE("a session outlives its model's handle") {
  SessionHandle session;
  {
    const TinyFixture tiny;
    start(tiny, session);
  }
  inlay_token token = -1;
  CHECK(inlay_session_step(session.get(), &token, nullptr) == INLAY_OK);
}

}  // namespace
