/*
 * inlay: GGUF in, tokens out. The C API; this header is its manual.
 *
 *   inlay_model* model = NULL;
 *   inlay_error* error = NULL;
 *   if (inlay_model_open("model.gguf", NULL, &model, &error) != INLAY_OK) {
 *     fprintf(stderr, "%s\n", inlay_error_message(error));
 *     inlay_error_free(error);
 *   }
 *
 * Rules that hold for every function:
 *
 * Failure   A function that can fail returns an inlay_status and takes `inlay_error** error` last. The pointer may be
 *           NULL. Otherwise *error is set to NULL at the start and, on failure, to an object with a message that names
 *           the thing that failed; free it with inlay_error_free. It stays NULL if there was no memory for it.
 *           Nothing aborts, exits, prints or throws. After a failure, outputs are untouched unless the function says
 *           otherwise, and handles are as they were before the call.
 * NULL      A NULL that a function does not allow is INLAY_INVALID_ARGUMENT; the message names the parameter.
 *           Functions that free accept NULL and do nothing.
 * Structs   Every struct begins with `struct_size`, the sizeof of the caller's version of it. Options are filled with
 *           defaults by their `_init` function, which sets it. For output structs the caller sets it. A program built
 *           with an older header keeps working: fields that it does not know have their defaults. A struct that is
 *           larger than the library's is accepted if every byte that the library does not know is zero. A size below
 *           that of the struct's first version, or above 4096, is INLAY_INVALID_ARGUMENT.
 * Arrays    Results of variable length go to a buffer of the caller: `out`, `capacity` (elements) and `size`, which is
 *           set to the number of elements of the whole result. `out` NULL with `capacity` 0 asks for the size alone.
 *           If the result does not fit, the call returns INLAY_BUFFER_TOO_SMALL, sets `size` and writes nothing else.
 * Text      Is UTF-8 with a length in bytes; it needs no terminator and gets none. File paths and names are the
 *           exception: they end with a zero byte.
 * Threads   A model and everything that takes a `const inlay_model*` may be used from any threads at the same time. A
 *           session or batch is used by one thread at a time, except inlay_session_cancel. Different sessions of one
 *           model may be used from different threads.
 * Lifetime  A session keeps its model's weights alive: handles may be freed in any order.
 * Callbacks Run during the call that they belong to and must not call into the same session. They must not throw.
 */
#ifndef INLAY_H
#define INLAY_H

#include <stddef.h>
#include <stdint.h>

#if defined(INLAY_BUILD_SHARED) && defined(__GNUC__)
#define INLAY_C_API __attribute__((visibility("default")))
#else
#define INLAY_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ------------------------------------------------------------------------------------------------- */

/* Grows by one whenever a program built with an older header could break. */
#define INLAY_ABI_VERSION 1

/* INLAY_ABI_VERSION of the library that is linked. A loader compares it with its own. */
INLAY_C_API uint32_t inlay_abi_version(void);

/* "major.minor.patch" of the library that is linked. Static storage. */
INLAY_C_API const char* inlay_version_string(void);

/* ---- Status and errors --------------------------------------------------------------------------------------- */

/* Numbers are never reused; new ones may be appended, so handle those that you do not know as a failure. */
typedef int32_t inlay_status;
enum {
  INLAY_OK = 0,                /* success */
  INLAY_INVALID_ARGUMENT = 1,  /* the caller passed something the call cannot accept */
  INLAY_NOT_FOUND = 2,         /* a file, metadata key or device does not exist */
  INLAY_IO_ERROR = 3,          /* the operating system refused to read or write */
  INLAY_INVALID_MODEL = 4,     /* the model file is damaged, truncated or contradicts itself */
  INLAY_UNSUPPORTED = 5,       /* well formed, but this version of inlay cannot run it */
  INLAY_OUT_OF_MEMORY = 6,     /* host or device memory could not be had */
  INLAY_CONTEXT_FULL = 7,      /* the tokens do not fit into the session's context */
  INLAY_CANCELLED = 8,         /* the caller asked to stop */
  INLAY_DEVICE_ERROR = 9,      /* a device or its driver failed */
  INLAY_INTERNAL = 10,         /* a broken promise inside inlay; please report it */
  INLAY_BUFFER_TOO_SMALL = 11, /* the result does not fit into `capacity` elements; `size` says how many it takes */
  INLAY_INVALID_STATE = 12     /* a saved session is damaged, or does not belong to this model */
};

/* A name of the status such as "context full". Never NULL, static storage. */
INLAY_C_API const char* inlay_status_string(inlay_status status);

/* What failed. Immutable; owned by the caller that received it. */
typedef struct inlay_error inlay_error;

/* INLAY_OUT_OF_MEMORY for NULL: the one failure that may come without an object. */
INLAY_C_API inlay_status inlay_error_status(const inlay_error* error);

/* The message, ending with a zero byte; never NULL or empty. Lives as long as `error` (static storage for NULL). */
INLAY_C_API const char* inlay_error_message(const inlay_error* error);

/* Frees it, and its message with it. */
INLAY_C_API void inlay_error_free(inlay_error* error);

/* ---- Small types --------------------------------------------------------------------------------------------- */

/* An index into the vocabulary of a model, 0 <= token < vocab_size. Ids that the file lists no token for have no text.
 */
typedef int32_t inlay_token;

/* What a callback wants next. INLAY_STOP ends the call that runs the callback. */
typedef int32_t inlay_flow;
enum { INLAY_CONTINUE = 0, INLAY_STOP = 1 };

/* How much a message matters. */
typedef int32_t inlay_log_level;
enum { INLAY_LOG_DEBUG = 0, INLAY_LOG_INFO = 1, INLAY_LOG_WARNING = 2, INLAY_LOG_ERROR = 3 };

/* Progress of a long call; `fraction` grows from 0 to 1. On the calling thread. */
typedef inlay_flow (*inlay_progress_fn)(void* user_data, float fraction);

/* Something worth saying. `message` is valid during the call only. From any thread that is inside a call. */
typedef void (*inlay_log_fn)(void* user_data, inlay_log_level level, const char* message, size_t message_size);

/* One part of a parallel loop; made by inlay. */
typedef void (*inlay_task_fn)(void* task_data, int32_t index);

/* The host's threads: runs task(task_data, i) for every 0 <= i < count, on any threads and in any order, and returns
 * when all have ended. A task never blocks on another one. */
typedef void (*inlay_parallel_for_fn)(void* user_data, int32_t count, inlay_task_fn task, void* task_data);

/* The host's memory for what is large on the CPU: packed weights, work buffers, KV pages, a file that an inlay_read_fn
 * reads. Small things come from operator new. Returns at least `size` (> 0) bytes at a multiple of `alignment` (a power
 * of two), or NULL, which becomes INLAY_OUT_OF_MEMORY. From any thread that is inside a call. */
typedef void* (*inlay_allocate_fn)(void* user_data, size_t size, size_t alignment);

/* Takes back what inlay_allocate_fn gave for the same size and alignment; also while handles are freed. */
typedef void (*inlay_release_fn)(void* user_data, void* memory, size_t size, size_t alignment);

/* Fills out[0 ... size) with a file's bytes from `offset` on. INLAY_STOP: they cannot be had, and the call ends with
 * INLAY_IO_ERROR. Never asks beyond the file's size. On the calling thread, during the call only. */
typedef inlay_flow (*inlay_read_fn)(void* user_data, uint64_t offset, void* out, size_t size);

/* ---- Devices ------------------------------------------------------------------------------------------------- */

/* What runs a model. */
typedef int32_t inlay_device_kind;
enum { INLAY_DEVICE_CPU = 0, INLAY_DEVICE_CUDA = 1 };

/* One device that this library can use on this machine. */
typedef struct inlay_device_info {
  size_t struct_size;
  inlay_device_kind kind; /* what `index` counts */
  int32_t index;          /* among the devices of its kind */
  uint64_t memory_bytes;  /* total; 0 when unknown */
  char name[128];         /* for instance "NVIDIA H200"; ends with a zero byte, cut off when longer */
  char isa[32];           /* CPU: the kernels in use ("avx2"); CUDA: "sm_90" */
} inlay_device_info;

/* How many devices this library can use on this machine: at least one, the CPU, which comes first. */
INLAY_C_API inlay_status inlay_device_count(size_t* count, inlay_error** error);

/* Device number `index` of inlay_device_count. INLAY_NOT_FOUND if there is none. */
INLAY_C_API inlay_status inlay_device_get(size_t index, inlay_device_info* info, inlay_error** error);

/* ---- Models -------------------------------------------------------------------------------------------------- */

/* A model file, opened and ready to run. Immutable and thread-safe. */
typedef struct inlay_model inlay_model;

/* How keys and values of past tokens are kept: halves, or 8-bit integers with a half as scale for each 32 values of a
 * head, which take 53% of the memory. */
typedef int32_t inlay_kv_format;
enum { INLAY_KV_F16 = 0, INLAY_KV_Q8_0 = 1 };

/* Where the CPU's weights are while a model is loaded: in memory, in the order in which the kernels read them
 * (fastest), or in the memory-mapped file (shared between processes, quick to open, slower to run). */
typedef int32_t inlay_weight_layout;
enum { INLAY_WEIGHTS_REPACKED = 0, INLAY_WEIGHTS_AS_IN_FILE = 1 };

/* How a model is opened. */
typedef struct inlay_model_options {
  size_t struct_size;
  inlay_device_kind device; /* INLAY_DEVICE_CPU */
  int32_t device_index;     /* 0 */
  int32_t threads;          /* CPU threads of a forward pass, the caller's included, 0..1024; 0: one per core */
  int32_t batch_rows;       /* 512: most token rows of one forward pass, 1..4096; longer prompts run in chunks of it */
  const char*
      cpu_isa; /* NULL or the kernels to use: "generic", "avx2", "avx512", "amx"; INLAY_UNSUPPORTED if missing */
  inlay_progress_fn progress; /* NULL; of opening. INLAY_STOP ends it with INLAY_CANCELLED */
  void* progress_user_data;   /* NULL; passed to it */
  inlay_log_fn log;    /* NULL. Like parallel_for, it and its user data must outlive the model and its sessions */
  void* log_user_data; /* NULL; passed to it */
  inlay_parallel_for_fn parallel_for; /* NULL; else used instead of own threads: `threads` is the number of parts */
  void* parallel_for_user_data;       /* NULL; passed to it */
  inlay_kv_format kv_format;          /* INLAY_KV_F16; Q8_0: INLAY_UNSUPPORTED if the head size is no multiple of 32 */
  inlay_weight_layout weight_layout;  /* INLAY_WEIGHTS_REPACKED; the results are the same, bit for bit */
  inlay_allocate_fn allocate; /* NULL: the system's memory. Both or none; they and their user data must outlive the
                                 model and its sessions */
  inlay_release_fn release;   /* NULL */
  void* allocator_user_data;  /* NULL; passed to both */
} inlay_model_options;

/* Fills the first `struct_size` bytes with the defaults: pass sizeof(inlay_model_options). The same holds for every
 * `_init` function. NULL, or a size below sizeof(size_t), does nothing. */
INLAY_C_API void inlay_model_options_init(inlay_model_options* options, size_t struct_size);

/* Opens a GGUF file (version 2 or 3). It is memory-mapped and must not be changed while the model lives. `options` may
 * be NULL: defaults. Close *model with inlay_model_close. INLAY_NOT_FOUND, INLAY_IO_ERROR, INLAY_INVALID_MODEL,
 * INLAY_UNSUPPORTED, INLAY_OUT_OF_MEMORY, INLAY_DEVICE_ERROR, INLAY_CANCELLED, INLAY_INVALID_ARGUMENT. */
INLAY_C_API inlay_status inlay_model_open(const char* path, const inlay_model_options* options, inlay_model** model,
                                          inlay_error** error);

/* Where a GGUF file is, when it has no path: in memory, or behind a function of the host. Exactly one of `data` and
 * `read` is set. */
typedef struct inlay_model_source {
  size_t struct_size;
  const void* data;     /* NULL; used in place: must stay, unchanged, while the model or a session of it lives */
  inlay_read_fn read;   /* NULL; read once, into memory of the library's own */
  void* read_user_data; /* NULL; passed to it */
  uint64_t size;        /* of the file, in bytes */
} inlay_model_source;

/* Fills in the defaults: see inlay_model_options_init. */
INLAY_C_API void inlay_model_source_init(inlay_model_source* source, size_t struct_size);

/* The same as inlay_model_open. */
INLAY_C_API inlay_status inlay_model_open_source(const inlay_model_source* source, const inlay_model_options* options,
                                                 inlay_model** model, inlay_error** error);

/* Gives the handle up; the weights are freed with the last handle or session. */
INLAY_C_API void inlay_model_close(inlay_model* model);

/* Bytes that a model and one session take on the device. */
typedef struct inlay_memory_estimate {
  size_t struct_size;
  uint64_t weight_bytes;     /* CPU: with pages of the mapped file */
  uint64_t activation_bytes; /* work buffers of a forward pass, once per model */
  uint64_t kv_bytes;         /* the KV cache of one session of `context_length` positions */
} inlay_memory_estimate;

/* What inlay_model_open plus one session of `context_length` positions (0: the trained length) would take. Reads the
 * header of the file only. Fails as inlay_model_open does. */
INLAY_C_API inlay_status inlay_model_estimate(const char* path, int32_t context_length,
                                              const inlay_model_options* options, inlay_memory_estimate* estimate,
                                              inlay_error** error);

/* The same. Of a source with `read`, little more than the header is read. */
INLAY_C_API inlay_status inlay_model_estimate_source(const inlay_model_source* source, int32_t context_length,
                                                     const inlay_model_options* options,
                                                     inlay_memory_estimate* estimate, inlay_error** error);

/* Names and sizes read from the file. The strings end with a zero byte and live as long as the model handle. */
typedef struct inlay_model_info {
  size_t struct_size;
  const char* architecture;    /* "llama" */
  const char* name;            /* may be empty */
  const char* quantization;    /* the format that holds most weight bytes, "Q4_K" */
  uint64_t parameters;         /* number of weights */
  uint64_t file_bytes;         /* size of the file */
  int32_t vocab_size;          /* number of token ids */
  int32_t context_length;      /* what the model was trained for, in tokens */
  int32_t n_layers;            /* each with attention and feed-forward */
  int32_t embedding_length;    /* values of a token between layers */
  int32_t feed_forward_length; /* values inside a feed-forward step */
  int32_t n_heads;             /* of queries */
  int32_t n_kv_heads;          /* of keys and of values */
  int32_t head_size;           /* values of a head */
  inlay_token bos_token;       /* begin of sequence; -1: none */
  inlay_token eos_token;       /* end of sequence; -1: none */
  int32_t threads;             /* CPU threads that a forward pass uses */
  int32_t reserved;            /* 0 */
} inlay_model_info;

/* Fills *info. */
INLAY_C_API inlay_status inlay_model_get_info(const inlay_model* model, inlay_model_info* info, inlay_error** error);

/* The device that the model runs on. */
INLAY_C_API inlay_status inlay_model_get_device(const inlay_model* model, inlay_device_info* info, inlay_error** error);

/* How many metadata keys the file has. */
INLAY_C_API inlay_status inlay_model_metadata_count(const inlay_model* model, size_t* count, inlay_error** error);

/* Key number `index`, in the file's order, in bytes without a terminator. INLAY_NOT_FOUND if there is none. */
INLAY_C_API inlay_status inlay_model_metadata_key(const inlay_model* model, size_t index, char* out, size_t capacity,
                                                  size_t* size, inlay_error** error);

/* The value of a key as text: a string as it is, numbers in decimal, "true" or "false", an array as its elements in
 * brackets with ", " between them, its strings quoted as in JSON. INLAY_NOT_FOUND. */
INLAY_C_API inlay_status inlay_model_metadata(const inlay_model* model, const char* key, size_t key_size, char* out,
                                              size_t capacity, size_t* size, inlay_error** error);

/* ---- Text and tokens ----------------------------------------------------------------------------------------- */

enum {
  INLAY_ADD_SPECIAL = 1,    /* tokenize: add the tokens that the model wants around a text (begin of sequence ...) */
  INLAY_PARSE_SPECIAL = 2,  /* tokenize: "<|im_start|>" and the like become the token of that name, not plain text */
  INLAY_RENDER_SPECIAL = 4, /* detokenize, piece: show control tokens */
  INLAY_NO_FLAGS = 0        /* none of them */
};

/* Token ids of `text`, which may hold any bytes. `flags`: INLAY_ADD_SPECIAL | INLAY_PARSE_SPECIAL; any other bit is
 * INLAY_INVALID_ARGUMENT, as is a text of more than 2^31 - 1 bytes. `text` may be NULL if `text_size` is 0. */
INLAY_C_API inlay_status inlay_tokenize(const inlay_model* model, const char* text, size_t text_size, uint32_t flags,
                                        inlay_token* out, size_t capacity, size_t* size, inlay_error** error);

/* The text of `tokens`, in bytes without a terminator. `flags`: INLAY_RENDER_SPECIAL. INLAY_INVALID_ARGUMENT for an id
 * outside the vocabulary. */
INLAY_C_API inlay_status inlay_detokenize(const inlay_model* model, const inlay_token* tokens, size_t n_tokens,
                                          uint32_t flags, char* out, size_t capacity, size_t* size,
                                          inlay_error** error);

/* The raw bytes of one token: possibly a part of a UTF-8 character. `flags` and failures as inlay_detokenize. */
INLAY_C_API inlay_status inlay_token_piece(const inlay_model* model, inlay_token token, uint32_t flags, char* out,
                                           size_t capacity, size_t* size, inlay_error** error);

/* Sets *is_end to 1 for every token that ends a generation (end of sequence, of turn, of text), else to 0. */
INLAY_C_API inlay_status inlay_token_is_end(const inlay_model* model, inlay_token token, int32_t* is_end,
                                            inlay_error** error);

/* ---- Sampling ------------------------------------------------------------------------------------------------ */

/* How the next token is chosen. Filters apply in this order: penalties, top-k, top-p, min-p, temperature, draw. The
 * defaults are greedy. The same options, seed and logits give the same token. */
typedef struct inlay_sampling_options {
  size_t struct_size;
  uint64_t seed;            /* 0; of the random stream: every value, 0 too, is a fixed stream */
  float temperature;        /* 0: the highest logit, the lowest id among equals; else logits are divided by it */
  int32_t top_k;            /* 0: all; else keep the k most likely tokens */
  float top_p;              /* 1; keep the smallest set whose probability reaches it, in (0, 1] */
  float min_p;              /* 0; drop tokens less likely than it times the most likely one, in [0, 1] */
  float repetition_penalty; /* 1; > 0, divides positive and multiplies negative logits of recent tokens */
  float frequency_penalty;  /* 0; subtracted once per occurrence among the recent tokens */
  float presence_penalty;   /* 0; subtracted once if the token is among the recent tokens */
  int32_t penalty_window;   /* 64: how many recent tokens the penalties look at; -1: all of the session */
} inlay_sampling_options;

/* Fills in the defaults: see inlay_model_options_init. */
INLAY_C_API void inlay_sampling_options_init(inlay_sampling_options* options, size_t struct_size);

/* ---- Sessions ------------------------------------------------------------------------------------------------ */

/* One sequence of tokens and its KV cache. */
typedef struct inlay_session inlay_session;

/* How long a sequence may get, and how its tokens are chosen. */
typedef struct inlay_session_options {
  size_t struct_size;
  const inlay_sampling_options* sampling; /* NULL: greedy. Read during the call only */
  int32_t context_length;                 /* most tokens the session can hold; 0: what the model was trained for */
  int32_t reserved;                       /* 0 */
} inlay_session_options;

/* Fills in the defaults: see inlay_model_options_init. */
INLAY_C_API void inlay_session_options_init(inlay_session_options* options, size_t struct_size);

/* `options` may be NULL: defaults. Free *session with inlay_session_free. INLAY_INVALID_ARGUMENT for absurd options,
 * INLAY_OUT_OF_MEMORY when the KV cache cannot be reserved. */
INLAY_C_API inlay_status inlay_session_create(const inlay_model* model, const inlay_session_options* options,
                                              inlay_session** session, inlay_error** error);

/* Frees the session and its part of the KV cache. */
INLAY_C_API void inlay_session_free(inlay_session* session);

/* Appends tokens and evaluates them. On failure the session is as before. INLAY_CONTEXT_FULL, INLAY_CANCELLED,
 * INLAY_INVALID_ARGUMENT (no token, or an id outside the vocabulary). Two or more tokens have the same results bit for
 * bit however they are cut into calls of at least two and into passes; a token alone is evaluated as one of
 * inlay_session_step is, which on a CPU with AMX is another rounding. */
INLAY_C_API inlay_status inlay_session_prefill(inlay_session* session, const inlay_token* tokens, size_t n_tokens,
                                               inlay_error** error);

/* Chooses the next token from the current logits, appends it and stores it in *token. Its own logits are computed when
 * they are first needed. INLAY_INVALID_ARGUMENT before the first prefill, INLAY_CONTEXT_FULL, INLAY_CANCELLED. */
INLAY_C_API inlay_status inlay_session_step(inlay_session* session, inlay_token* token, inlay_error** error);

/* Points *logits at the logits after the last token and sets *size to the vocabulary's size. They belong to the session
 * and are valid until the next call on it. Fails as inlay_session_step does. */
INLAY_C_API inlay_status inlay_session_logits(inlay_session* session, const float** logits, size_t* size,
                                              inlay_error** error);

/* A second session with the same tokens and sampler state. Shares the KV cache until one of the two writes. */
INLAY_C_API inlay_status inlay_session_fork(const inlay_session* session, inlay_session** fork, inlay_error** error);

/* Drops all tokens from position `length` on, 0 <= length <= the number of tokens. */
INLAY_C_API inlay_status inlay_session_rewind(inlay_session* session, int32_t length, inlay_error** error);

/* Replaces the sampling options and restarts the random stream from their seed. `options` NULL: greedy. */
INLAY_C_API inlay_status inlay_session_set_sampling(inlay_session* session, const inlay_sampling_options* options,
                                                    inlay_error** error);

/* The session as bytes for inlay_session_restore: its tokens, keys and values, sampling options and random stream.
 * Equal sessions give equal bytes. INLAY_BUFFER_TOO_SMALL, INLAY_OUT_OF_MEMORY, INLAY_DEVICE_ERROR. */
INLAY_C_API inlay_status inlay_session_save(const inlay_session* session, void* out, size_t capacity, size_t* size,
                                            inlay_error** error);

/* Makes this session the one that was saved, whatever it held before; its context length stays. The bytes may come from
 * another process, and from a session of the same file on the same kind of device with the same KV format. The last
 * tokens, at most 64, are evaluated again when their logits are needed; what follows is as if the session had never
 * been saved. On failure the session is as before: INLAY_INVALID_STATE (damaged, or of another model, KV format or kind
 * of device), INLAY_CONTEXT_FULL, INLAY_OUT_OF_MEMORY; but it is empty after INLAY_DEVICE_ERROR. */
INLAY_C_API inlay_status inlay_session_restore(inlay_session* session, const void* state, size_t state_size,
                                               inlay_error** error);

/* All tokens so far. */
INLAY_C_API inlay_status inlay_session_tokens(const inlay_session* session, inlay_token* out, size_t capacity,
                                              size_t* size, inlay_error** error);

/* The most tokens that the session can hold. */
INLAY_C_API inlay_status inlay_session_context_length(const inlay_session* session, int32_t* context_length,
                                                      inlay_error** error);

/* Ends the call that runs on this session, or the next one, with INLAY_CANCELLED. From any thread, while the handle
 * lives. A running call ends after at most one step of one layer (such as its feed-forward matrices) over `batch_rows`
 * rows on the CPU, and one forward pass of so many rows on a GPU. NULL does nothing. */
INLAY_C_API void inlay_session_cancel(inlay_session* session);

/* ---- Generating ---------------------------------------------------------------------------------------------- */

/* Why a generation has ended. */
typedef int32_t inlay_finish_reason;
enum {
  INLAY_FINISH_END_OF_GENERATION = 0, /* the model produced an end token, which is not part of the result */
  INLAY_FINISH_MAX_TOKENS = 1,        /* as many as `max_tokens` are there */
  INLAY_FINISH_CONTEXT_FULL = 2,      /* the session holds as many tokens as it can */
  INLAY_FINISH_STOPPED = 3,           /* the callback asked to stop */
  INLAY_FINISH_CANCELLED = 4          /* inlay_session_cancel */
};

/* Receives text as it becomes complete UTF-8, on the calling thread. `text` may be empty while a character is
 * unfinished; the rest of it comes at the end with `token` -1. Valid during the call only. */
typedef inlay_flow (*inlay_token_fn)(void* user_data, inlay_token token, const char* text, size_t text_size);

/* When a generation ends, and who watches it. */
typedef struct inlay_generate_options {
  size_t struct_size;
  inlay_token_fn on_token;  /* NULL */
  void* on_token_user_data; /* NULL; passed to it */
  int32_t max_tokens;       /* 256 */
  int32_t reserved;         /* 0 */
} inlay_generate_options;

/* Fills in the defaults: see inlay_model_options_init. */
INLAY_C_API void inlay_generate_options_init(inlay_generate_options* options, size_t struct_size);

/* What a generation produced. Immutable. */
typedef struct inlay_generation inlay_generation;

/* Steps until an end token, a limit or the callback ends it; running into the context's end or being cancelled is a
 * finish reason here, not a failure. `options` may be NULL: defaults. `generation` may be NULL if the callback is all
 * that is wanted; else free *generation with inlay_generation_free. Fails as inlay_session_step does. */
INLAY_C_API inlay_status inlay_session_generate(inlay_session* session, const inlay_generate_options* options,
                                                inlay_generation** generation, inlay_error** error);

/* The text, in UTF-8; *size is its length in bytes, and a zero byte follows. Lives as long as `generation`. For NULL:
 * an empty text. `size` may be NULL. */
INLAY_C_API const char* inlay_generation_text(const inlay_generation* generation, size_t* size);

/* The tokens without the end token; *size is their number. Lives as long as `generation`. For NULL: none. `size` may be
 * NULL. */
INLAY_C_API const inlay_token* inlay_generation_tokens(const inlay_generation* generation, size_t* size);

/* Why it ended. INLAY_FINISH_CANCELLED for NULL. */
INLAY_C_API inlay_finish_reason inlay_generation_finish_reason(const inlay_generation* generation);

/* Frees it, and its text and tokens with it. */
INLAY_C_API void inlay_generation_free(inlay_generation* generation);

/* ---- Where the time goes ------------------------------------------------------------------------------------- */

/* What a step of a forward pass does. Numbers are never reused; new ones may be appended. */
typedef int32_t inlay_pass_step;
enum {
  INLAY_STEP_EMBED = 0,   /* the token's row of the embedding table */
  INLAY_STEP_QKV = 1,     /* queries, keys and values of a layer; keys and values into the KV cache */
  INLAY_STEP_ATTEND = 2,  /* attention over all positions so far */
  INLAY_STEP_PROJECT = 3, /* the output matrix of the attention */
  INLAY_STEP_GATE_UP = 4, /* the first matrices of the feed-forward part, and the activation */
  INLAY_STEP_DOWN = 5,    /* its last matrix */
  INLAY_STEP_HEAD = 6,    /* the logits, and the next token where no step of its own chooses it */
  INLAY_STEP_CHOOSE = 7   /* the next token, where a step of its own chooses it */
};

/* A short name, for instance "gate+up". Never NULL, static storage. */
INLAY_C_API const char* inlay_pass_step_string(inlay_pass_step step);

/* Times of the steps of a forward pass over one row. Immutable. */
typedef struct inlay_profile inlay_profile;

/* The pass as a whole. */
typedef struct inlay_pass_profile {
  size_t struct_size;
  double time_us;               /* microseconds of the pass as it is really run; the median of several */
  double peak_bytes_per_second; /* what the device's memory can give at most; 0: unknown */
  size_t n_steps;               /* one for every step of every layer, and those of none */
} inlay_pass_profile;

/* One step of one layer. */
typedef struct inlay_step_profile {
  size_t struct_size;
  inlay_pass_step step; /* what it does */
  int32_t layer;        /* 0 <= layer < n_layers; -1: a step that belongs to none */
  double time_us;       /* microseconds on the device, its start included; the median of several passes */
  uint64_t bytes;       /* of weight matrices and KV cache that it reads, as they lie on the device */
} inlay_step_profile;

/* Evaluates the last token again, some tens of times, behind the tokens ahead of it, and times the steps one by one. In
 * the pass as it is really run they overlap, so their sum is more than its time. Bytes that fit into the device's cache
 * may come faster than its memory can give them. The session keeps its tokens, sampling options and random stream; its
 * logits are computed again when they are needed, as after inlay_session_rewind. Other sessions of the model wait
 * meanwhile. Free *profile with inlay_profile_free. INLAY_INVALID_ARGUMENT before the first prefill, INLAY_UNSUPPORTED
 * on a device that does not time its steps (the CPU), INLAY_CANCELLED, INLAY_OUT_OF_MEMORY, INLAY_DEVICE_ERROR. */
INLAY_C_API inlay_status inlay_session_profile(inlay_session* session, inlay_profile** profile, inlay_error** error);

/* Fills *pass. */
INLAY_C_API inlay_status inlay_profile_get_pass(const inlay_profile* profile, inlay_pass_profile* pass,
                                                inlay_error** error);

/* Step number `index`, in the order in which they run. INLAY_NOT_FOUND if there is none. */
INLAY_C_API inlay_status inlay_profile_get_step(const inlay_profile* profile, size_t index, inlay_step_profile* step,
                                                inlay_error** error);

/* Frees it. */
INLAY_C_API void inlay_profile_free(inlay_profile* profile);

/* ---- Several sessions in one forward pass -------------------------------------------------------------------- */

/* Rows of several sessions of one model, evaluated together. On the CPU every session gets bitwise the logits that it
 * would get alone. The sessions must outlive the run and must not be used elsewhere during it. */
typedef struct inlay_batch inlay_batch;

/* An empty batch. Free *batch with inlay_batch_free. */
INLAY_C_API inlay_status inlay_batch_create(inlay_batch** batch, inlay_error** error);

/* Frees the batch, not its sessions. */
INLAY_C_API void inlay_batch_free(inlay_batch* batch);

/* Queues tokens to append to `session`; they are copied. A session may be queued once a run.
 * INLAY_INVALID_ARGUMENT for no token. */
INLAY_C_API inlay_status inlay_batch_prefill(inlay_batch* batch, inlay_session* session, const inlay_token* tokens,
                                             size_t n_tokens, inlay_error** error);

/* Queues one sampled token for `session`. */
INLAY_C_API inlay_status inlay_batch_step(inlay_batch* batch, inlay_session* session, inlay_error** error);

/* Evaluates everything queued and empties the queue. out[i] is the token sampled by entry i in queueing order, or -1
 * for a prefill. *size is the number of entries; asking for it alone, or passing too small a buffer, runs nothing and
 * keeps the queue. On failure every session is as before and the queue is empty. */
INLAY_C_API inlay_status inlay_batch_run(inlay_batch* batch, inlay_token* out, size_t capacity, size_t* size,
                                         inlay_error** error);

/* ---- Smaller model files ------------------------------------------------------------------------------------- */

/* What to make of a file, and how. */
typedef struct inlay_quantize_options {
  size_t struct_size;
  const char* type;                   /* NULL: must be set. What to make, one of inlay_quantize_type: "Q4_K_M" */
  int32_t threads;                    /* 0: one per core; that encode, the caller's included, 0..1024 */
  int32_t reserved;                   /* 0 */
  inlay_progress_fn progress;         /* NULL; INLAY_STOP ends the call with INLAY_CANCELLED */
  void* progress_user_data;           /* NULL; passed to it */
  inlay_parallel_for_fn parallel_for; /* NULL; else used instead of own threads: `threads` is the number of parts */
  void* parallel_for_user_data;       /* NULL; passed to it */
} inlay_quantize_options;

/* Fills in the defaults: see inlay_model_options_init. */
INLAY_C_API void inlay_quantize_options_init(inlay_quantize_options* options, size_t struct_size);

/* The name of type number `index`, from the largest files to the smallest; NULL when there are no more. Static storage.
 * Those that end in _L, _M or _S are mixes: the tensors that matter most get a better format. */
INLAY_C_API const char* inlay_quantize_type(size_t index);

/* Reads a GGUF file and writes its model with the matrices in the formats of a type. The output is replaced when
 * everything is written, in one step, and untouched after a failure; it may be the input. The same input and type give
 * the same bytes, whatever the threads. INLAY_INVALID_ARGUMENT, INLAY_NOT_FOUND, INLAY_IO_ERROR, INLAY_INVALID_MODEL,
 * INLAY_UNSUPPORTED, INLAY_OUT_OF_MEMORY, INLAY_CANCELLED. */
INLAY_C_API inlay_status inlay_quantize(const char* in_path, const char* out_path,
                                        const inlay_quantize_options* options, inlay_error** error);

#ifdef __cplusplus
}
#endif

#endif /* INLAY_H */
