#include "bridge.h"

// In generate.go.
extern inlay_flow goOnToken(uintptr_t handle, inlay_token token, char* text, size_t text_size);

static inlay_flow on_token(void* user_data, inlay_token token, const char* text, size_t text_size) {
  return goOnToken((uintptr_t)user_data, token, (char*)text, text_size);
}

inlay_status bridge_generate(inlay_session* session, int32_t max_tokens, uintptr_t handle, inlay_finish_reason* reason,
                             inlay_error** error) {
  inlay_generate_options options;
  inlay_generate_options_init(&options, sizeof options);
  options.on_token = on_token;
  options.on_token_user_data = (void*)handle;  // a number, which Go's collector does not follow
  options.max_tokens = max_tokens;
  inlay_generation* generation = NULL;
  const inlay_status status = inlay_session_generate(session, &options, &generation, error);
  if (status == INLAY_OK) *reason = inlay_generation_finish_reason(generation);
  inlay_generation_free(generation);
  return status;
}
