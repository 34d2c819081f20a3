/* Uses the C API of an installed inlay: consumer_c [MODEL]. Without a model it shows how a failure looks. */
#include <inlay.h>
#include <stdio.h>

static inlay_status generate(const char* path, inlay_generation** answer, inlay_error** error) {
  inlay_model* model = NULL;
  inlay_session* session = NULL;
  inlay_token tokens[64];
  size_t n = 0;
  inlay_status status = inlay_model_open(path, NULL, &model, error);
  if (status == INLAY_OK) status = inlay_tokenize(model, "hello", 5, INLAY_ADD_SPECIAL, tokens, 64, &n, error);
  if (status == INLAY_OK) status = inlay_session_create(model, NULL, &session, error);
  if (status == INLAY_OK) status = inlay_session_prefill(session, tokens, n, error);
  if (status == INLAY_OK) status = inlay_session_generate(session, NULL, answer, error);
  inlay_session_free(session);
  inlay_model_close(model);
  return status;
}

int main(int argc, char** argv) {
  inlay_generation* answer = NULL;
  inlay_error* error = NULL;
  const inlay_status status = generate(argc > 1 ? argv[1] : "no such model.gguf", &answer, &error);
  const char* text = status == INLAY_OK ? inlay_generation_text(answer, NULL) : inlay_error_message(error);
  printf("inlay %s, %s: %s\n", inlay_version_string(), inlay_status_string(status), text);
  inlay_generation_free(answer);
  inlay_error_free(error);
  return status == (argc > 1 ? INLAY_OK : INLAY_NOT_FOUND) && inlay_abi_version() == INLAY_ABI_VERSION ? 0 : 1;
}
