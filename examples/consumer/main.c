/* Uses the C API of an installed inlay; needs no model. */
#include <inlay.h>
#include <stdio.h>

int main(void) {
  inlay_model* model = NULL;
  inlay_error* error = NULL;
  const inlay_status status = inlay_model_open("no such model.gguf", NULL, &model, &error);
  printf("inlay %s, %s: %s\n", inlay_version_string(), inlay_status_string(status), inlay_error_message(error));
  inlay_error_free(error);
  return status == INLAY_NOT_FOUND && inlay_abi_version() == INLAY_ABI_VERSION ? 0 : 1;
}
