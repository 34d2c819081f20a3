/* Generates text: generate MODEL [PROMPT [MAX_TOKENS [TEMPERATURE [SEED [KERNELS]]]]]
 * The text goes to stdout as it comes, the ids of its tokens to stderr at the end. KERNELS: see inlay_model_options. */
#include <inlay.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inlay_flow print_piece(void* user_data, inlay_token token, const char* text, size_t text_size) {
  (void)user_data;
  (void)token;
  const size_t written = fwrite(text, 1, text_size, stdout);
  return written == text_size && fflush(stdout) == 0 ? INLAY_CONTINUE : INLAY_STOP;
}

static void print_tokens(const inlay_generation* generation) {
  size_t n = 0;
  const inlay_token* tokens = inlay_generation_tokens(generation, &n);
  fputs("tokens:", stderr);
  for (size_t i = 0; i < n; ++i) fprintf(stderr, " %d", (int)tokens[i]);
  fputs("\n", stderr);
}

/* Asks for the number of tokens first. The caller frees what it gets; NULL and no *error: there was no memory. */
static inlay_token* tokenize(const inlay_model* model, const char* text, size_t* n, inlay_error** error) {
  const inlay_status asked = inlay_tokenize(model, text, strlen(text), INLAY_ADD_SPECIAL, NULL, 0, n, error);
  inlay_token* tokens = asked == INLAY_OK ? malloc((*n + 1) * sizeof *tokens) : NULL;
  if (tokens == NULL) return NULL;
  if (inlay_tokenize(model, text, strlen(text), INLAY_ADD_SPECIAL, tokens, *n, n, error) == INLAY_OK) return tokens;
  free(tokens);
  return NULL;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fputs("usage: generate MODEL [PROMPT [MAX_TOKENS [TEMPERATURE [SEED [KERNELS]]]]]\n", stderr);
    return 2;
  }
  inlay_model_options model_options;
  inlay_model_options_init(&model_options, sizeof model_options);
  inlay_sampling_options sampling;
  inlay_sampling_options_init(&sampling, sizeof sampling);
  inlay_session_options session_options;
  inlay_session_options_init(&session_options, sizeof session_options);
  session_options.sampling = &sampling;
  inlay_generate_options generate_options;
  inlay_generate_options_init(&generate_options, sizeof generate_options);
  generate_options.on_token = print_piece;

  const char* prompt = argc > 2 ? argv[2] : "The capital of France is";
  if (argc > 3) generate_options.max_tokens = atoi(argv[3]);
  if (argc > 4) sampling.temperature = strtof(argv[4], NULL);
  if (argc > 5) sampling.seed = strtoull(argv[5], NULL, 10);
  if (argc > 6) model_options.cpu_isa = argv[6];

  inlay_model* model = NULL;
  inlay_session* session = NULL;
  inlay_generation* generation = NULL;
  inlay_error* error = NULL;
  inlay_token* tokens = NULL;
  size_t n = 0;
  const int failed = inlay_model_open(argv[1], &model_options, &model, &error) ||
                     (tokens = tokenize(model, prompt, &n, &error)) == NULL ||
                     inlay_session_create(model, &session_options, &session, &error) ||
                     inlay_session_prefill(session, tokens, n, &error) ||
                     inlay_session_generate(session, &generate_options, &generation, &error);
  if (failed) {
    fprintf(stderr, "generate: %s\n", inlay_error_message(error));
  } else {
    puts("");
    print_tokens(generation);
  }
  inlay_error_free(error);
  inlay_generation_free(generation);
  inlay_session_free(session);
  inlay_model_close(model);
  free(tokens);
  return failed;
}
