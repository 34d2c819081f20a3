/* What loading the library does to a process: load_quietly LIBRARY REPORT
 * Writes one line "name value" for each thing counted, to the file REPORT: its own output would hide the library's. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef int32_t device_count_fn(size_t* count, void** error);

static int count_entries(const char* folder) {
  DIR* entries = opendir(folder);
  if (entries == NULL) return -1;
  int count = 0;
  while (readdir(entries) != NULL) count++;
  closedir(entries);
  return count;
}

struct handlers {
  struct sigaction of[NSIG];
  sigset_t blocked;
};

static void look_at_handlers(struct handlers* handlers) {
  memset(handlers, 0, sizeof *handlers);
  for (int signal = 1; signal < NSIG; signal++) sigaction(signal, NULL, &handlers->of[signal]);
  sigprocmask(SIG_SETMASK, NULL, &handlers->blocked);
}

/* Signals that are handled otherwise, and blocked ones that were not or the reverse. */
static int count_changed(const struct handlers* before, const struct handlers* after) {
  int changed = 0;
  for (int signal = 1; signal < NSIG; signal++) {
    const struct sigaction* a = &before->of[signal];
    const struct sigaction* b = &after->of[signal];
    changed += a->sa_handler != b->sa_handler || a->sa_flags != b->sa_flags ||
               sigismember(&before->blocked, signal) != sigismember(&after->blocked, signal);
  }
  return changed;
}

struct state {
  int threads;
  int files;
  struct handlers handlers;
};

static void look(struct state* state) {
  state->threads = count_entries("/proc/self/task");
  state->files = count_entries("/proc/self/fd");
  look_at_handlers(&state->handlers);
}

static void report(FILE* out, const char* when, const struct state* before, const struct state* after) {
  fprintf(out, "%s_threads %d\n", when, after->threads - before->threads);
  fprintf(out, "%s_files %d\n", when, after->files - before->files);
  fprintf(out, "%s_handlers %d\n", when, count_changed(&before->handlers, &after->handlers));
}

static double now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

int main(int argc, char** argv) {
  static struct state before, loaded, asked;
  if (argc != 3) return 2;
  FILE* out = fopen(argv[2], "w");
  if (out == NULL) return 2;

  look(&before);
  const double start_ms = now_ms();
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  const double load_ms = now_ms() - start_ms;
  look(&loaded);
  if (library == NULL) {
    fprintf(out, "%s\n", dlerror());
    return 1;
  }
  device_count_fn* device_count = (device_count_fn*)dlsym(library, "inlay_device_count");
  size_t n_devices = 0;
  const int32_t status = device_count == NULL ? -1 : device_count(&n_devices, NULL);
  look(&asked);

  fprintf(out, "load_ms %.3f\n", load_ms);
  report(out, "load", &before, &loaded);
  report(out, "device_count", &loaded, &asked);
  fprintf(out, "devices %d\n", status == 0 ? (int)n_devices : -1);
  return fclose(out) == 0 ? 0 : 1;
}
