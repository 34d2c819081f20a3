/* A program of yesterday: compiled against capi/abi/inlay.h, the header of the ABI's baseline, and run with the library
 * of today: baseline_program MODEL. Uses what a host uses: opening, generating, saving and restoring. */
#include <inlay.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { max_tokens = 8 };

#define CHECK(call)                                                   \
  do {                                                                \
    if ((call) != INLAY_OK) {                                         \
      fprintf(stderr, "%s: %s\n", #call, inlay_error_message(error)); \
      inlay_error_free(error);                                        \
      return 1;                                                       \
    }                                                                 \
  } while (0)
#define REQUIRE(condition)                 \
  do {                                     \
    if (!(condition)) {                    \
      fprintf(stderr, "%s\n", #condition); \
      return 1;                            \
    }                                      \
  } while (0)

static inlay_flow count_calls(void* user_data, inlay_token token, const char* text, size_t text_size) {
  (void)token, (void)text, (void)text_size;
  ++*(int*)user_data;
  return INLAY_CONTINUE;
}

static inlay_flow look_at_progress(void* user_data, float fraction) {
  *(float*)user_data = fraction;
  return INLAY_CONTINUE;
}

static int look_at_model(const inlay_model* model, const char* path, const inlay_model_options* options) {
  inlay_error* error = NULL;
  inlay_model_info info;
  inlay_device_info device;
  inlay_memory_estimate estimate;
  info.struct_size = sizeof info;
  device.struct_size = sizeof device;
  estimate.struct_size = sizeof estimate;
  CHECK(inlay_model_get_info(model, &info, &error));
  CHECK(inlay_model_get_device(model, &device, &error));
  CHECK(inlay_model_estimate(path, 64, options, &estimate, &error));
  REQUIRE(strcmp(info.architecture, "llama") == 0 && info.vocab_size > 0 && info.threads == 2 && info.reserved == 0);
  REQUIRE(device.kind == INLAY_DEVICE_CPU && device.isa[0] != 0);
  REQUIRE(estimate.weight_bytes > 0 && estimate.activation_bytes > 0 && estimate.kv_bytes > 0);
  return 0;
}

/* A saved session goes on as the session itself does. */
static int save_and_restore(const inlay_model* model, const inlay_session* session, inlay_token expected) {
  inlay_error* error = NULL;
  inlay_session* restored = NULL;
  inlay_token token = -1;
  size_t size = 0;
  CHECK(inlay_session_save(session, NULL, 0, &size, &error));
  void* state = malloc(size);
  REQUIRE(state != NULL);
  CHECK(inlay_session_save(session, state, size, &size, &error));
  CHECK(inlay_session_create(model, NULL, &restored, &error));
  CHECK(inlay_session_restore(restored, state, size, &error));
  CHECK(inlay_session_step(restored, &token, &error));
  REQUIRE(token == expected);
  inlay_session_free(restored);
  free(state);
  return 0;
}

/* The same file, in memory and behind a function. */
static inlay_flow read_file(void* user_data, uint64_t offset, void* out, size_t size) {
  FILE* file = user_data;
  return fseek(file, (long)offset, SEEK_SET) == 0 && fread(out, 1, size, file) == size ? INLAY_CONTINUE : INLAY_STOP;
}

static int open_source(const char* path) {
  inlay_error* error = NULL;
  inlay_model* model = NULL;
  inlay_model_source source;
  size_t n_keys = 0;
  FILE* file = fopen(path, "rb");
  REQUIRE(file != NULL && fseek(file, 0, SEEK_END) == 0);
  inlay_model_source_init(&source, sizeof source);
  source.read = read_file;
  source.read_user_data = file;
  source.size = (uint64_t)ftell(file);
  CHECK(inlay_model_open_source(&source, NULL, &model, &error));
  CHECK(inlay_model_metadata_count(model, &n_keys, &error));
  REQUIRE(n_keys > 0);
  inlay_model_close(model);
  return fclose(file);
}

static int generate(const inlay_model* model) {
  inlay_error* error = NULL;
  inlay_session* session = NULL;
  inlay_session* fork = NULL;
  inlay_generation* generation = NULL;
  inlay_sampling_options sampling;
  inlay_session_options session_options;
  inlay_generate_options generate_options;
  inlay_sampling_options_init(&sampling, sizeof sampling);
  inlay_session_options_init(&session_options, sizeof session_options);
  inlay_generate_options_init(&generate_options, sizeof generate_options);
  sampling.temperature = 1.0f;
  sampling.seed = 5;
  session_options.sampling = &sampling;
  session_options.context_length = 64;
  int calls = 0;
  generate_options.max_tokens = max_tokens;
  generate_options.on_token = count_calls;
  generate_options.on_token_user_data = &calls;

  inlay_token tokens[32];
  size_t n_tokens = 0;
  int32_t context_length = 0;
  CHECK(inlay_session_create(model, &session_options, &session, &error));
  CHECK(inlay_session_context_length(session, &context_length, &error));
  REQUIRE(context_length == 64);
  CHECK(inlay_tokenize(model, "hello", 5, INLAY_ADD_SPECIAL, tokens, 32, &n_tokens, &error));
  CHECK(inlay_session_prefill(session, tokens, n_tokens, &error));
  CHECK(inlay_session_fork(session, &fork, &error));
  CHECK(inlay_session_generate(session, &generate_options, &generation, &error));

  size_t n_generated = 0;
  const inlay_token* generated = inlay_generation_tokens(generation, &n_generated);
  REQUIRE(n_generated > 0 && n_generated <= max_tokens && calls >= (int)n_generated);
  if (save_and_restore(model, fork, generated[0]) != 0) return 1;
  /* The fork has the same tokens and the same sampler. */
  for (size_t i = 0; i < n_generated; i++) {
    inlay_token token = -1;
    CHECK(inlay_session_step(fork, &token, &error));
    REQUIRE(token == generated[i]);
  }
  printf("%d tokens generated twice: \"%s\"\n", (int)n_generated, inlay_generation_text(generation, NULL));
  inlay_generation_free(generation);
  inlay_session_free(fork);
  inlay_session_free(session);
  return 0;
}

int main(int argc, char** argv) {
  inlay_error* error = NULL;
  inlay_model* model = NULL;
  inlay_model_options options;
  float progress = 0;
  REQUIRE(argc == 2);
  REQUIRE(inlay_abi_version() == INLAY_ABI_VERSION);
  REQUIRE(inlay_model_open("no such file", NULL, &model, &error) == INLAY_NOT_FOUND && error != NULL && model == NULL);
  inlay_error_free(error);

  inlay_model_options_init(&options, sizeof options);
  options.threads = 2;
  options.progress = look_at_progress;
  options.progress_user_data = &progress;
  CHECK(inlay_model_open(argv[1], &options, &model, &error));
  REQUIRE(progress == 1.0f);
  if (look_at_model(model, argv[1], &options) != 0 || generate(model) != 0 || open_source(argv[1]) != 0) {
    return 1;
  }
  inlay_model_close(model);
  return 0;
}
