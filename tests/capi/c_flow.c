#include "c_flow.h"

#include <inlay.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The layout that programs in other languages repeat: a change here is a change of the ABI. */
_Static_assert(sizeof(void*) == 8, "the sizes below are those of 64-bit machines");
_Static_assert(sizeof(inlay_device_info) == 184, "inlay_device_info");
_Static_assert(sizeof(inlay_model_options) == 112, "inlay_model_options");
_Static_assert(sizeof(inlay_memory_estimate) == 32, "inlay_memory_estimate");
_Static_assert(sizeof(inlay_model_info) == 96, "inlay_model_info");
_Static_assert(sizeof(inlay_sampling_options) == 48, "inlay_sampling_options");
_Static_assert(sizeof(inlay_session_options) == 24, "inlay_session_options");
_Static_assert(sizeof(inlay_generate_options) == 32, "inlay_generate_options");
_Static_assert(sizeof(inlay_pass_profile) == 32, "inlay_pass_profile");
_Static_assert(sizeof(inlay_step_profile) == 32, "inlay_step_profile");
_Static_assert(offsetof(inlay_model_options, cpu_isa) == 24, "inlay_model_options.cpu_isa");
_Static_assert(offsetof(inlay_model_options, kv_format) == 80, "inlay_model_options.kv_format");
_Static_assert(offsetof(inlay_model_info, parameters) == 32, "inlay_model_info.parameters");
_Static_assert(offsetof(inlay_sampling_options, temperature) == 16, "inlay_sampling_options.temperature");

#define CHECK(condition)                 \
  do {                                   \
    if (!(condition)) return #condition; \
  } while (0)

struct collected {
  char text[4096];
  size_t size;
  int calls;
};

static inlay_flow collect(void* user_data, inlay_token token, const char* text, size_t text_size) {
  struct collected* all = user_data;
  (void)token;
  if (text_size <= sizeof all->text - all->size) {
    memcpy(all->text + all->size, text, text_size);
    all->size += text_size;
  }
  all->calls++;
  return INLAY_CONTINUE;
}

static const char* generate(inlay_session* session) {
  struct collected all = {{0}, 0, 0};
  inlay_generation* generation = NULL;
  inlay_error* error = NULL;
  inlay_generate_options options;
  inlay_generate_options_init(&options, sizeof options);
  options.max_tokens = 8;
  options.on_token = collect;
  options.on_token_user_data = &all;
  CHECK(inlay_session_generate(session, &options, &generation, &error) == INLAY_OK);
  CHECK(error == NULL);

  size_t text_size = 0;
  size_t n_tokens = 0;
  const char* text = inlay_generation_text(generation, &text_size);
  const inlay_token* tokens = inlay_generation_tokens(generation, &n_tokens);
  const inlay_finish_reason reason = inlay_generation_finish_reason(generation);
  CHECK(text_size == all.size && memcmp(text, all.text, text_size) == 0 && text[text_size] == 0);
  CHECK(n_tokens <= 8 && (size_t)all.calls >= n_tokens && (n_tokens == 0 || tokens != NULL));
  CHECK(reason == INLAY_FINISH_MAX_TOKENS || reason == INLAY_FINISH_END_OF_GENERATION);
  inlay_generation_free(generation);
  return NULL;
}

static const char* use_session(const inlay_model* model) {
  inlay_session* session = NULL;
  inlay_error* error = NULL;
  inlay_sampling_options sampling;
  inlay_session_options options;
  inlay_sampling_options_init(&sampling, sizeof sampling);
  inlay_session_options_init(&options, sizeof options);
  sampling.temperature = 0.5f;
  sampling.seed = 7;
  options.sampling = &sampling;
  options.context_length = 64;
  CHECK(inlay_session_create(model, &options, &session, &error) == INLAY_OK);

  size_t n_tokens = 0;
  CHECK(inlay_tokenize(model, "hello", 5, INLAY_ADD_SPECIAL, NULL, 0, &n_tokens, &error) == INLAY_OK);
  CHECK(n_tokens > 0);
  inlay_token* tokens = malloc(n_tokens * sizeof *tokens);
  CHECK(tokens != NULL);
  CHECK(inlay_tokenize(model, "hello", 5, INLAY_ADD_SPECIAL, tokens, n_tokens, &n_tokens, &error) == INLAY_OK);
  CHECK(inlay_session_prefill(session, tokens, n_tokens, &error) == INLAY_OK);
  free(tokens);

  const char* failed = generate(session);
  inlay_session_free(session);
  return failed;
}

const char* inlay_test_c_flow(const char* model_path) {
  inlay_model* model = NULL;
  inlay_error* error = NULL;
  CHECK(inlay_abi_version() == INLAY_ABI_VERSION);
  CHECK(inlay_model_open(model_path, NULL, &model, &error) == INLAY_OK);

  inlay_model_info info = {.struct_size = sizeof info};
  inlay_device_info device = {.struct_size = sizeof device};
  CHECK(inlay_model_get_info(model, &info, &error) == INLAY_OK);
  CHECK(strcmp(info.architecture, "llama") == 0 && info.vocab_size > 0 && info.threads > 0);
  CHECK(inlay_model_get_device(model, &device, &error) == INLAY_OK);
  CHECK(device.kind == INLAY_DEVICE_CPU && device.isa[0] != 0);

  const char* failed = use_session(model);
  inlay_model_close(model);
  return failed;
}
