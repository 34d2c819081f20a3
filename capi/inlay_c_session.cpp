// C API: sessions, generating and batches.
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include <inlay/inlay.hpp>

#include "call.hpp"
#include "handles.hpp"

namespace {

using inlay::GenerateOptions;
using inlay::Result;
using inlay::SamplingOptions;
using inlay::SessionOptions;
using inlay::Status;
using inlay::StatusCode;
using inlay::capi::call;
using inlay::capi::check_buffer;
using inlay::capi::check_input;
using inlay::capi::init_struct;
using inlay::capi::read_struct;
using inlay::capi::require;
using inlay::capi::write_array;

inlay_sampling_options default_sampling_options() noexcept {
  const SamplingOptions defaults;
  inlay_sampling_options options = {};
  options.seed = defaults.seed;
  options.temperature = defaults.temperature;
  options.top_k = defaults.top_k;
  options.top_p = defaults.top_p;
  options.min_p = defaults.min_p;
  options.repetition_penalty = defaults.repetition_penalty;
  options.frequency_penalty = defaults.frequency_penalty;
  options.presence_penalty = defaults.presence_penalty;
  options.penalty_window = defaults.penalty_window;
  return options;
}

Result<SamplingOptions> convert(const inlay_sampling_options* given) {
  const auto options = read_struct(given, default_sampling_options());
  if (!options.ok()) return options.status();
  SamplingOptions converted;
  converted.seed = options->seed;
  converted.temperature = options->temperature;
  converted.top_k = options->top_k;
  converted.top_p = options->top_p;
  converted.min_p = options->min_p;
  converted.repetition_penalty = options->repetition_penalty;
  converted.frequency_penalty = options->frequency_penalty;
  converted.presence_penalty = options->presence_penalty;
  converted.penalty_window = options->penalty_window;
  return converted;
}

Result<SessionOptions> convert(const inlay_session_options* given) {
  const auto options = read_struct(given, inlay_session_options{});
  if (!options.ok()) return options.status();
  const auto sampling = convert(options->sampling);
  if (!sampling.ok()) return sampling.status();
  SessionOptions converted;
  converted.context_length = options->context_length;
  converted.sampling = *sampling;
  return converted;
}

inlay_generate_options default_generate_options() noexcept {
  inlay_generate_options options = {};
  options.max_tokens = GenerateOptions().max_tokens;
  return options;
}

Result<GenerateOptions> convert(const inlay_generate_options* given) {
  const auto options = read_struct(given, default_generate_options());
  if (!options.ok()) return options.status();
  GenerateOptions converted;
  converted.max_tokens = options->max_tokens;
  if (options->on_token != nullptr) {
    converted.on_token = [function = options->on_token, user_data = options->on_token_user_data](
                             inlay::TokenId token, std::string_view text) {
      return static_cast<inlay::Flow>(function(user_data, token, text.data(), text.size()));
    };
  }
  return converted;
}

/// The tokens of a prefill; none at all is a mistake of the caller.
Status check_tokens(const inlay_token* tokens, std::size_t n_tokens) {
  if (n_tokens == 0) return {StatusCode::kInvalidArgument, "n_tokens: must not be 0"};
  return check_input(tokens, n_tokens, "tokens");
}

}  // namespace

void inlay_sampling_options_init(inlay_sampling_options* options, size_t struct_size) {
  init_struct(options, struct_size, default_sampling_options());
}

void inlay_session_options_init(inlay_session_options* options, size_t struct_size) {
  init_struct(options, struct_size, inlay_session_options{});
}

void inlay_generate_options_init(inlay_generate_options* options, size_t struct_size) {
  init_struct(options, struct_size, default_generate_options());
}

inlay_status inlay_session_create(const inlay_model* model, const inlay_session_options* options,
                                  inlay_session** session, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{model, "model"}, {session, "session"}}));
    const auto converted = convert(options);
    INLAY_CAPI_TRY(converted.status());
    auto created = inlay::Session::create(model->value, *converted);
    INLAY_CAPI_TRY(created.status());
    *session = new inlay_session{*std::move(created)};
    return {};
  });
}

void inlay_session_free(inlay_session* session) { delete session; }

inlay_status inlay_session_prefill(inlay_session* session, const inlay_token* tokens, size_t n_tokens,
                                   inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{session, "session"}}));
    INLAY_CAPI_TRY(check_tokens(tokens, n_tokens));
    return session->value.prefill({tokens, n_tokens}).status();
  });
}

inlay_status inlay_session_step(inlay_session* session, inlay_token* token, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{session, "session"}, {token, "token"}}));
    const auto next = session->value.step();
    INLAY_CAPI_TRY(next.status());
    *token = *next;
    return {};
  });
}

inlay_status inlay_session_logits(inlay_session* session, const float** logits, size_t* size, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{session, "session"}, {logits, "logits"}, {size, "size"}}));
    const auto row = session->value.logits();
    INLAY_CAPI_TRY(row.status());
    *logits = row->data();
    *size = row->size();
    return {};
  });
}

inlay_status inlay_session_fork(const inlay_session* session, inlay_session** fork, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{session, "session"}, {fork, "fork"}}));
    auto copy = session->value.fork();
    INLAY_CAPI_TRY(copy.status());
    *fork = new inlay_session{*std::move(copy)};
    return {};
  });
}

inlay_status inlay_session_rewind(inlay_session* session, int32_t length, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{session, "session"}}));
    return session->value.rewind(length).status();
  });
}

inlay_status inlay_session_set_sampling(inlay_session* session, const inlay_sampling_options* options,
                                        inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{session, "session"}}));
    const auto converted = convert(options);
    INLAY_CAPI_TRY(converted.status());
    return session->value.set_sampling(*converted).status();
  });
}

inlay_status inlay_session_save(const inlay_session* session, void* out, size_t capacity, size_t* size,
                                inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{session, "session"}}));
    INLAY_CAPI_TRY(check_buffer(out, capacity, size));
    const auto state = session->value.save();
    INLAY_CAPI_TRY(state.status());
    return write_array(std::span<const std::byte>(*state), static_cast<std::byte*>(out), capacity, size);
  });
}

inlay_status inlay_session_restore(inlay_session* session, const void* state, size_t state_size, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{session, "session"}}));
    INLAY_CAPI_TRY(check_input(state, state_size, "state"));
    return session->value.restore({static_cast<const std::byte*>(state), state_size}).status();
  });
}

inlay_status inlay_session_tokens(const inlay_session* session, inlay_token* out, size_t capacity, size_t* size,
                                  inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{session, "session"}}));
    INLAY_CAPI_TRY(check_buffer(out, capacity, size));
    return write_array(session->value.tokens(), out, capacity, size);
  });
}

inlay_status inlay_session_context_length(const inlay_session* session, int32_t* context_length, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{session, "session"}, {context_length, "context_length"}}));
    *context_length = session->value.context_length();
    return {};
  });
}

void inlay_session_cancel(inlay_session* session) {
  if (session != nullptr) session->value.cancel();
}

inlay_status inlay_session_generate(inlay_session* session, const inlay_generate_options* options,
                                    inlay_generation** generation, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{session, "session"}}));
    const auto converted = convert(options);
    INLAY_CAPI_TRY(converted.status());
    auto result = std::make_unique<inlay_generation>();  // before the work: afterwards a failure would lose it
    auto generated = session->value.generate(*converted);
    INLAY_CAPI_TRY(generated.status());
    result->value = *std::move(generated);
    if (generation != nullptr) *generation = result.release();
    return {};
  });
}

const char* inlay_generation_text(const inlay_generation* generation, size_t* size) {
  if (size != nullptr) *size = generation == nullptr ? 0 : generation->value.text.size();
  return generation == nullptr ? "" : generation->value.text.c_str();
}

const inlay_token* inlay_generation_tokens(const inlay_generation* generation, size_t* size) {
  if (size != nullptr) *size = generation == nullptr ? 0 : generation->value.tokens.size();
  return generation == nullptr ? nullptr : generation->value.tokens.data();
}

inlay_finish_reason inlay_generation_finish_reason(const inlay_generation* generation) {
  return generation == nullptr ? static_cast<inlay_finish_reason>(INLAY_FINISH_CANCELLED)
                               : static_cast<inlay_finish_reason>(generation->value.finish_reason);
}

void inlay_generation_free(inlay_generation* generation) { delete generation; }

inlay_status inlay_batch_create(inlay_batch** batch, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{batch, "batch"}}));
    *batch = new inlay_batch;
    return {};
  });
}

void inlay_batch_free(inlay_batch* batch) { delete batch; }

inlay_status inlay_batch_prefill(inlay_batch* batch, inlay_session* session, const inlay_token* tokens, size_t n_tokens,
                                 inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{batch, "batch"}, {session, "session"}}));
    INLAY_CAPI_TRY(check_tokens(tokens, n_tokens));
    INLAY_CAPI_TRY(batch->value.prefill(session->value, {tokens, n_tokens}).status());
    ++batch->n_entries;
    return {};
  });
}

inlay_status inlay_batch_step(inlay_batch* batch, inlay_session* session, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{batch, "batch"}, {session, "session"}}));
    INLAY_CAPI_TRY(batch->value.step(session->value).status());
    ++batch->n_entries;
    return {};
  });
}

inlay_status inlay_batch_run(inlay_batch* batch, inlay_token* out, size_t capacity, size_t* size, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{batch, "batch"}}));
    INLAY_CAPI_TRY(check_buffer(out, capacity, size));
    *size = batch->n_entries;
    if (out == nullptr) return {};
    if (batch->n_entries > capacity) {
      return {StatusCode::kBufferTooSmall, "capacity: " + std::to_string(capacity) + ", the batch has " +
                                               std::to_string(batch->n_entries) + " entries"};
    }
    inlay::Batch queued = std::exchange(batch->value, inlay::Batch());
    batch->n_entries = 0;
    const auto tokens = queued.run();
    INLAY_CAPI_TRY(tokens.status());
    return write_array(std::span<const inlay_token>(*tokens), out, capacity, size);
  });
}
