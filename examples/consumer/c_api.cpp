// Uses the C API of an installed inlay from C++ of any standard.
#include <inlay.h>

#include <cstdio>

int main() {
  inlay_model* model = nullptr;
  inlay_error* error = nullptr;
  const inlay_status status = inlay_model_open("no such model.gguf", nullptr, &model, &error);
  std::printf("inlay %s, %s: %s\n", inlay_version_string(), inlay_status_string(status), inlay_error_message(error));
  inlay_error_free(error);
  return status == INLAY_NOT_FOUND ? 0 : 1;
}
