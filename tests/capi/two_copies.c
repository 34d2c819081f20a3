/* Two copies of the library in one process: two_copies LIBRARY COPY MODEL
 * LIBRARY and COPY are two files with the same bytes. Both generate, in turn, token by token, the same tokens; each
 * calls its own code and has its own data, whether or not the other one's symbols are global. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <inlay.h>
#include <stdio.h>
#include <string.h>

enum { n_tokens = 16 };

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      return 1;                                                       \
    }                                                                 \
  } while (0)

/* One copy, and what was made with it. */
struct copy {
  void* library;
  const char* path;
  __typeof__(&inlay_error_message) error_message;
  __typeof__(&inlay_model_open) model_open;
  __typeof__(&inlay_model_close) model_close;
  __typeof__(&inlay_tokenize) tokenize;
  __typeof__(&inlay_session_create) session_create;
  __typeof__(&inlay_session_free) session_free;
  __typeof__(&inlay_session_prefill) session_prefill;
  __typeof__(&inlay_session_step) session_step;
  inlay_model* model;
  inlay_session* session;
  inlay_token tokens[n_tokens];
};

static int find(struct copy* copy, const char* name, void* function) {
  void* symbol = dlsym(copy->library, name);
  memcpy(function, &symbol, sizeof symbol);
  return symbol != NULL;
}

static int load(struct copy* copy, const char* path, int scope) {
  copy->path = path;
  copy->library = dlopen(path, RTLD_NOW | scope);
  CHECK(copy->library != NULL);
  CHECK(find(copy, "inlay_error_message", &copy->error_message));
  CHECK(find(copy, "inlay_model_open", &copy->model_open));
  CHECK(find(copy, "inlay_model_close", &copy->model_close));
  CHECK(find(copy, "inlay_tokenize", &copy->tokenize));
  CHECK(find(copy, "inlay_session_create", &copy->session_create));
  CHECK(find(copy, "inlay_session_free", &copy->session_free));
  CHECK(find(copy, "inlay_session_prefill", &copy->session_prefill));
  CHECK(find(copy, "inlay_session_step", &copy->session_step));

  /* This text is a constant behind another exported function: it tells whose function has been called. */
  Dl_info owner;
  CHECK(dladdr(copy->error_message(NULL), &owner) != 0);
  CHECK(strcmp(owner.dli_fname, path) == 0);
  return 0;
}

static int start(struct copy* copy, const char* model_path) {
  inlay_token prompt[16];
  size_t size = 0;
  CHECK(copy->model_open(model_path, NULL, &copy->model, NULL) == INLAY_OK);
  CHECK(copy->session_create(copy->model, NULL, &copy->session, NULL) == INLAY_OK);
  CHECK(copy->tokenize(copy->model, "hello", 5, INLAY_ADD_SPECIAL, prompt, 16, &size, NULL) == INLAY_OK);
  CHECK(copy->session_prefill(copy->session, prompt, size, NULL) == INLAY_OK);
  return 0;
}

static int use_both(struct copy copies[2], const char* model_path) {
  CHECK(copies[0].model_open != copies[1].model_open);
  for (int c = 0; c < 2; c++) CHECK(start(&copies[c], model_path) == 0);
  for (int i = 0; i < n_tokens; i++) {
    for (int c = 0; c < 2; c++) {
      CHECK(copies[c].session_step(copies[c].session, &copies[c].tokens[i], NULL) == INLAY_OK);
    }
  }
  CHECK(memcmp(copies[0].tokens, copies[1].tokens, sizeof copies[0].tokens) == 0);
  /* One of them goes; the other one still works. */
  copies[0].session_free(copies[0].session);
  copies[0].model_close(copies[0].model);
  CHECK(dlclose(copies[0].library) == 0);
  CHECK(copies[1].session_step(copies[1].session, &copies[1].tokens[0], NULL) == INLAY_OK);
  copies[1].session_free(copies[1].session);
  copies[1].model_close(copies[1].model);
  CHECK(dlclose(copies[1].library) == 0);
  return 0;
}

int main(int argc, char** argv) {
  CHECK(argc == 4);
  const int scopes[2] = {RTLD_LOCAL, RTLD_GLOBAL};
  for (int s = 0; s < 2; s++) {
    static struct copy copies[2];
    memset(copies, 0, sizeof copies);
    for (int c = 0; c < 2; c++) CHECK(load(&copies[c], argv[1 + c], scopes[s]) == 0);
    CHECK(use_both(copies, argv[3]) == 0);
    printf("%s: %d tokens from each of two copies, in turn, the same; first %d, last %d\n",
           scopes[s] == RTLD_LOCAL ? "RTLD_LOCAL" : "RTLD_GLOBAL", n_tokens, (int)copies[0].tokens[1],
           (int)copies[1].tokens[n_tokens - 1]);
  }
  return 0;
}
