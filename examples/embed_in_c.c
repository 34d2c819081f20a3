#include <inlay.h>
#include <stdio.h>

int main(int argc, char** argv) {
  const char prompt[] = "The capital of France is";
  inlay_model* model = NULL;
  inlay_session* session = NULL;
  inlay_generation* answer = NULL;
  inlay_error* error = NULL;
  inlay_token tokens[64];
  size_t n_tokens = 0;
  inlay_generate_options options;
  inlay_generate_options_init(&options, sizeof options);
  options.max_tokens = 16;

  int failed = inlay_model_open(argc > 1 ? argv[1] : "model.gguf", NULL, &model, &error) ||
               inlay_tokenize(model, prompt, sizeof prompt - 1, INLAY_ADD_SPECIAL, tokens, 64, &n_tokens, &error) ||
               inlay_session_create(model, NULL, &session, &error) ||
               inlay_session_prefill(session, tokens, n_tokens, &error) ||
               inlay_session_generate(session, &options, &answer, &error);
  puts(failed ? inlay_error_message(error) : inlay_generation_text(answer, NULL));

  inlay_error_free(error);
  inlay_generation_free(answer);
  inlay_session_free(session);
  inlay_model_close(model);
  return failed;
}
