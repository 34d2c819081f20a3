#include <inlay.h>
#include <stdio.h>

int main(int argc, char** argv) {
  inlay_model* model = NULL;
  inlay_session* session = NULL;
  inlay_generation* answer = NULL;
  inlay_error* error = NULL;
  inlay_token tokens[64];
  size_t n = 0;
  int failed = inlay_model_open(argc > 1 ? argv[1] : "model.gguf", NULL, &model, &error) ||
               inlay_tokenize(model, "The capital of France is", 24, INLAY_ADD_SPECIAL, tokens, 64, &n, &error) ||
               inlay_session_create(model, NULL, &session, &error) ||
               inlay_session_prefill(session, tokens, n, &error) ||
               inlay_session_generate(session, NULL, &answer, &error);
  puts(failed ? inlay_error_message(error) : inlay_generation_text(answer, NULL));
  inlay_error_free(error);
  inlay_generation_free(answer);
  inlay_session_free(session);
  inlay_model_close(model);
  return failed;
}
