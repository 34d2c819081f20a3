#include <inlay.h>
#include <stdio.h>

static inlay_flow print_text(void* user_data, inlay_token token, const char* text, size_t text_size) {
  (void)user_data, (void)token;
  fwrite(text, 1, text_size, stdout);
  return INLAY_CONTINUE;
}

int main(int argc, char** argv) {
  inlay_model* model = NULL;
  inlay_session* session = NULL;
  inlay_error* error = NULL;
  const char prompt[] = "The capital of France is";
  inlay_token tokens[64];
  size_t n_tokens = 0;
  inlay_generate_options options;
  inlay_generate_options_init(&options, sizeof options);
  options.max_tokens = 16;
  options.on_token = print_text;

  int failed = inlay_model_open(argc > 1 ? argv[1] : "model.gguf", NULL, &model, &error) ||
               inlay_tokenize(model, prompt, sizeof prompt - 1, INLAY_ADD_SPECIAL, tokens, 64, &n_tokens, &error) ||
               inlay_session_create(model, NULL, &session, &error) ||
               inlay_session_prefill(session, tokens, n_tokens, &error) ||
               inlay_session_generate(session, &options, NULL, &error);
  if (failed) fprintf(stderr, "%s", inlay_error_message(error));
  puts("");

  inlay_error_free(error);
  inlay_session_free(session);
  inlay_model_close(model);
  return failed;
}
