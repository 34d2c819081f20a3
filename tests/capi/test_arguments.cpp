#include <inlay.h>

#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <inlay/inlay.hpp>

#include "capi/tiny.hpp"

namespace {

using namespace inlay::test;  // NOLINT(google-build-using-namespace)

// The numbers of inlay.h are those of the C++ API.
static_assert(INLAY_OK == static_cast<int>(inlay::StatusCode::kOk));
static_assert(INLAY_INVALID_ARGUMENT == static_cast<int>(inlay::StatusCode::kInvalidArgument));
static_assert(INLAY_NOT_FOUND == static_cast<int>(inlay::StatusCode::kNotFound));
static_assert(INLAY_IO_ERROR == static_cast<int>(inlay::StatusCode::kIoError));
static_assert(INLAY_INVALID_MODEL == static_cast<int>(inlay::StatusCode::kInvalidModel));
static_assert(INLAY_UNSUPPORTED == static_cast<int>(inlay::StatusCode::kUnsupported));
static_assert(INLAY_OUT_OF_MEMORY == static_cast<int>(inlay::StatusCode::kOutOfMemory));
static_assert(INLAY_CONTEXT_FULL == static_cast<int>(inlay::StatusCode::kContextFull));
static_assert(INLAY_CANCELLED == static_cast<int>(inlay::StatusCode::kCancelled));
static_assert(INLAY_DEVICE_ERROR == static_cast<int>(inlay::StatusCode::kDeviceError));
static_assert(INLAY_INTERNAL == static_cast<int>(inlay::StatusCode::kInternal));
static_assert(INLAY_BUFFER_TOO_SMALL == static_cast<int>(inlay::StatusCode::kBufferTooSmall));
static_assert(INLAY_STOP == static_cast<int>(inlay::Flow::kStop));
static_assert(INLAY_LOG_ERROR == static_cast<int>(inlay::LogLevel::kError));
static_assert(INLAY_DEVICE_CUDA == static_cast<int>(inlay::DeviceKind::kCuda));
static_assert(INLAY_FINISH_END_OF_GENERATION == static_cast<int>(inlay::FinishReason::kEndOfGeneration));
static_assert(INLAY_FINISH_MAX_TOKENS == static_cast<int>(inlay::FinishReason::kMaxTokens));
static_assert(INLAY_FINISH_CONTEXT_FULL == static_cast<int>(inlay::FinishReason::kContextFull));
static_assert(INLAY_FINISH_STOPPED == static_cast<int>(inlay::FinishReason::kStopped));
static_assert(INLAY_FINISH_CANCELLED == static_cast<int>(inlay::FinishReason::kCancelled));
static_assert(INLAY_STEP_EMBED == static_cast<int>(inlay::PassStep::kEmbed));
static_assert(INLAY_STEP_QKV == static_cast<int>(inlay::PassStep::kQkv));
static_assert(INLAY_STEP_ATTEND == static_cast<int>(inlay::PassStep::kAttend));
static_assert(INLAY_STEP_PROJECT == static_cast<int>(inlay::PassStep::kProject));
static_assert(INLAY_STEP_GATE_UP == static_cast<int>(inlay::PassStep::kGateUp));
static_assert(INLAY_STEP_DOWN == static_cast<int>(inlay::PassStep::kDown));
static_assert(INLAY_STEP_HEAD == static_cast<int>(inlay::PassStep::kHead));
static_assert(INLAY_STEP_CHOOSE == static_cast<int>(inlay::PassStep::kChoose));

TEST_CASE("version and status have names") {
  CHECK(inlay_abi_version() == INLAY_ABI_VERSION);
  CHECK(std::string(inlay_version_string()) == inlay::version_string());
  CHECK(std::string(inlay_status_string(INLAY_CONTEXT_FULL)) == "context full");
  CHECK(std::string(inlay_status_string(INLAY_BUFFER_TOO_SMALL)) == "buffer too small");
  CHECK(std::string(inlay_status_string(12345)) == "unknown status");
}

TEST_CASE("an error without an object is the one about memory") {
  CHECK(inlay_error_status(nullptr) == INLAY_OUT_OF_MEMORY);
  CHECK(std::string(inlay_error_message(nullptr)) == "out of memory");
  inlay_error_free(nullptr);
}

TEST_CASE("devices: the CPU is always there") {
  std::size_t count = 0;
  REQUIRE(inlay_device_count(&count, nullptr) == INLAY_OK);
  REQUIRE(count >= 1);
  inlay_device_info info = {};
  info.struct_size = sizeof info;
  REQUIRE(inlay_device_get(0, &info, nullptr) == INLAY_OK);
  CHECK(info.kind == INLAY_DEVICE_CPU);
  CHECK(info.name[0] != 0);
  CHECK(info.isa[0] != 0);
  CHECK(inlay::devices().size() == count);
  Error error;
  CHECK(inlay_device_get(count, &info, error.out()) == INLAY_NOT_FOUND);
  CHECK(message(error) == "device " + std::to_string(count) + ": there are " + std::to_string(count));
}

/// A call with one NULL, and the parameter that its message must name.
struct NullCase {
  const char* parameter;
  std::function<inlay_status(inlay_error**)> call;
};

std::vector<NullCase> model_cases(const TinyFixture& tiny) {
  const inlay_model* model = tiny.model.get();
  const char* path = tiny.path.c_str();
  static inlay_model* opened = nullptr;
  static inlay_memory_estimate estimate = {sizeof estimate, 0, 0, 0};
  static inlay_model_info info = {};
  static inlay_device_info device = {};
  static std::size_t size = 0;
  static std::int32_t is_end = 0;
  info.struct_size = sizeof info;
  device.struct_size = sizeof device;
  return {
      {"count", [](inlay_error** e) { return inlay_device_count(nullptr, e); }},
      {"info", [](inlay_error** e) { return inlay_device_get(0, nullptr, e); }},
      {"path", [](inlay_error** e) { return inlay_model_open(nullptr, nullptr, &opened, e); }},
      {"model", [=](inlay_error** e) { return inlay_model_open(path, nullptr, nullptr, e); }},
      {"path", [](inlay_error** e) { return inlay_model_estimate(nullptr, 0, nullptr, &estimate, e); }},
      {"estimate", [=](inlay_error** e) { return inlay_model_estimate(path, 0, nullptr, nullptr, e); }},
      {"model", [](inlay_error** e) { return inlay_model_get_info(nullptr, &info, e); }},
      {"info", [=](inlay_error** e) { return inlay_model_get_info(model, nullptr, e); }},
      {"model", [](inlay_error** e) { return inlay_model_get_device(nullptr, &device, e); }},
      {"info", [=](inlay_error** e) { return inlay_model_get_device(model, nullptr, e); }},
      {"model", [](inlay_error** e) { return inlay_tokenize(nullptr, "a", 1, 0, nullptr, 0, &size, e); }},
      {"text", [=](inlay_error** e) { return inlay_tokenize(model, nullptr, 1, 0, nullptr, 0, &size, e); }},
      {"size", [=](inlay_error** e) { return inlay_tokenize(model, "a", 1, 0, nullptr, 0, nullptr, e); }},
      {"out", [=](inlay_error** e) { return inlay_tokenize(model, "a", 1, 0, nullptr, 4, &size, e); }},
      {"model", [](inlay_error** e) { return inlay_detokenize(nullptr, nullptr, 0, 0, nullptr, 0, &size, e); }},
      {"tokens", [=](inlay_error** e) { return inlay_detokenize(model, nullptr, 2, 0, nullptr, 0, &size, e); }},
      {"size", [=](inlay_error** e) { return inlay_detokenize(model, nullptr, 0, 0, nullptr, 0, nullptr, e); }},
      {"out", [=](inlay_error** e) { return inlay_detokenize(model, nullptr, 0, 0, nullptr, 1, &size, e); }},
      {"model", [](inlay_error** e) { return inlay_token_piece(nullptr, 1, 0, nullptr, 0, &size, e); }},
      {"size", [=](inlay_error** e) { return inlay_token_piece(model, 1, 0, nullptr, 0, nullptr, e); }},
      {"model", [](inlay_error** e) { return inlay_token_is_end(nullptr, 1, &is_end, e); }},
      {"is_end", [=](inlay_error** e) { return inlay_token_is_end(model, 1, nullptr, e); }},
  };
}

std::vector<NullCase> session_cases(const TinyFixture& tiny, inlay_session* session, inlay_batch* batch) {
  const inlay_model* model = tiny.model.get();
  const inlay_token* tokens = kPrompt.data();
  static inlay_session* created = nullptr;
  static inlay_token token = 0;
  static const float* logits = nullptr;
  static std::size_t size = 0;
  static std::int32_t length = 0;
  static inlay_profile* profile = nullptr;
  static inlay_pass_profile pass = {sizeof pass, 0, 0, 0};
  static inlay_step_profile step = {sizeof step, 0, 0, 0, 0};
  return {
      {"model", [](inlay_error** e) { return inlay_session_create(nullptr, nullptr, &created, e); }},
      {"session", [=](inlay_error** e) { return inlay_session_create(model, nullptr, nullptr, e); }},
      {"session", [=](inlay_error** e) { return inlay_session_prefill(nullptr, tokens, 1, e); }},
      {"tokens", [=](inlay_error** e) { return inlay_session_prefill(session, nullptr, 1, e); }},
      {"n_tokens", [=](inlay_error** e) { return inlay_session_prefill(session, tokens, 0, e); }},
      {"session", [](inlay_error** e) { return inlay_session_step(nullptr, &token, e); }},
      {"token", [=](inlay_error** e) { return inlay_session_step(session, nullptr, e); }},
      {"session", [](inlay_error** e) { return inlay_session_logits(nullptr, &logits, &size, e); }},
      {"logits", [=](inlay_error** e) { return inlay_session_logits(session, nullptr, &size, e); }},
      {"size", [=](inlay_error** e) { return inlay_session_logits(session, &logits, nullptr, e); }},
      {"session", [](inlay_error** e) { return inlay_session_fork(nullptr, &created, e); }},
      {"fork", [=](inlay_error** e) { return inlay_session_fork(session, nullptr, e); }},
      {"session", [](inlay_error** e) { return inlay_session_rewind(nullptr, 0, e); }},
      {"session", [](inlay_error** e) { return inlay_session_set_sampling(nullptr, nullptr, e); }},
      {"session", [](inlay_error** e) { return inlay_session_tokens(nullptr, nullptr, 0, &size, e); }},
      {"size", [=](inlay_error** e) { return inlay_session_tokens(session, nullptr, 0, nullptr, e); }},
      {"out", [=](inlay_error** e) { return inlay_session_tokens(session, nullptr, 1, &size, e); }},
      {"session", [](inlay_error** e) { return inlay_session_context_length(nullptr, &length, e); }},
      {"context_length", [=](inlay_error** e) { return inlay_session_context_length(session, nullptr, e); }},
      {"session", [](inlay_error** e) { return inlay_session_generate(nullptr, nullptr, nullptr, e); }},
      {"session", [](inlay_error** e) { return inlay_session_profile(nullptr, &profile, e); }},
      {"profile", [=](inlay_error** e) { return inlay_session_profile(session, nullptr, e); }},
      {"profile", [](inlay_error** e) { return inlay_profile_get_pass(nullptr, &pass, e); }},
      {"profile", [](inlay_error** e) { return inlay_profile_get_step(nullptr, 0, &step, e); }},
      {"batch", [](inlay_error** e) { return inlay_batch_create(nullptr, e); }},
      {"batch", [=](inlay_error** e) { return inlay_batch_prefill(nullptr, session, tokens, 1, e); }},
      {"session", [=](inlay_error** e) { return inlay_batch_prefill(batch, nullptr, tokens, 1, e); }},
      {"tokens", [=](inlay_error** e) { return inlay_batch_prefill(batch, session, nullptr, 1, e); }},
      {"n_tokens", [=](inlay_error** e) { return inlay_batch_prefill(batch, session, tokens, 0, e); }},
      {"batch", [=](inlay_error** e) { return inlay_batch_step(nullptr, session, e); }},
      {"session", [=](inlay_error** e) { return inlay_batch_step(batch, nullptr, e); }},
      {"batch", [](inlay_error** e) { return inlay_batch_run(nullptr, nullptr, 0, &size, e); }},
      {"size", [=](inlay_error** e) { return inlay_batch_run(batch, nullptr, 0, nullptr, e); }},
      {"out", [=](inlay_error** e) { return inlay_batch_run(batch, nullptr, 1, &size, e); }},
  };
}

TEST_CASE("a NULL that is not allowed is an invalid argument, and the message names it") {
  const TinyFixture tiny;
  REQUIRE(tiny.opened);
  SessionHandle session;
  BatchHandle batch;
  REQUIRE(inlay_session_create(tiny.model.get(), nullptr, session.out(), nullptr) == INLAY_OK);
  REQUIRE(inlay_batch_create(batch.out(), nullptr) == INLAY_OK);
  std::vector<NullCase> cases = model_cases(tiny);
  for (NullCase& one : session_cases(tiny, session.get(), batch.get())) cases.push_back(std::move(one));
  for (const NullCase& one : cases) {
    Error error;
    CHECK(one.call(error.out()) == INLAY_INVALID_ARGUMENT);
    CHECK(inlay_error_status(error.get()) == INLAY_INVALID_ARGUMENT);
    CHECK_MESSAGE(message(error).find(std::string(one.parameter) + ":") == 0, message(error));
    CHECK(one.call(nullptr) == INLAY_INVALID_ARGUMENT);
  }
  MESSAGE("checked ", cases.size(), " calls");
}

TEST_CASE("functions that free, cancel and look into a generation accept NULL") {
  inlay_model_close(nullptr);
  inlay_session_free(nullptr);
  inlay_session_cancel(nullptr);
  inlay_generation_free(nullptr);
  inlay_profile_free(nullptr);
  inlay_batch_free(nullptr);
  std::size_t size = 1;
  CHECK(std::string(inlay_generation_text(nullptr, &size)).empty());
  CHECK(size == 0);
  CHECK(inlay_generation_tokens(nullptr, nullptr) == nullptr);
  CHECK(inlay_generation_finish_reason(nullptr) == INLAY_FINISH_CANCELLED);
}

TEST_CASE("structs with a wrong size and unknown flags are refused by name") {
  const TinyFixture tiny;
  REQUIRE(tiny.opened);
  Error error;
  inlay_model* model = nullptr;
  inlay_model_options options = {};  // struct_size 0: not initialised
  CHECK(inlay_model_open(tiny.path.c_str(), &options, &model, error.out()) == INLAY_INVALID_ARGUMENT);
  CHECK(message(error) == "inlay_model_options.struct_size: expected 80 to 4096, found 0");
  CHECK(model == nullptr);
  inlay_model_options_init(&options, sizeof options);
  options.device = 9;
  CHECK(inlay_model_open(tiny.path.c_str(), &options, &model, error.out()) == INLAY_INVALID_ARGUMENT);
  CHECK(message(error) == "inlay_model_options.device: 9 is no device kind");

  inlay_model_info info = {};
  CHECK(inlay_model_get_info(tiny.model.get(), &info, error.out()) == INLAY_INVALID_ARGUMENT);
  CHECK(message(error).find("inlay_model_info.struct_size") == 0);

  inlay_sampling_options sampling = {};
  inlay_session_options session_options;
  inlay_session_options_init(&session_options, sizeof session_options);
  session_options.sampling = &sampling;
  SessionHandle session;
  CHECK(inlay_session_create(tiny.model.get(), &session_options, session.out(), error.out()) == INLAY_INVALID_ARGUMENT);
  CHECK(message(error).find("inlay_sampling_options.struct_size") == 0);

  std::size_t size = 0;
  CHECK(inlay_tokenize(tiny.model.get(), "a", 1, INLAY_RENDER_SPECIAL, nullptr, 0, &size, error.out()) ==
        INLAY_INVALID_ARGUMENT);
  CHECK(message(error) == "flags: 4 is not a flag of this function");
  CHECK(inlay_detokenize(tiny.model.get(), nullptr, 0, 8, nullptr, 0, &size, error.out()) == INLAY_INVALID_ARGUMENT);
}

}  // namespace
