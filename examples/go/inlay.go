// Package inlay is inlay for Go: GGUF in, tokens out, through the C API of the shared library. inlay.h is the manual of
// what is called here.
//
// A Model may be used by any goroutines at the same time; a Session by one at a time, except Cancel. Close frees what
// the library has given; a session keeps its model's weights alive, so the order does not matter.
package inlay

/*
#cgo pkg-config: inlay
#include <inlay.h>
#include <stdlib.h>
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// Token is an index into the vocabulary of a model.
type Token int32

// Error is a call that failed: the inlay_status and a message that names the thing.
type Error struct {
	Status  int32
	Message string
}

func (failure *Error) Error() string { return failure.Message }

// check makes an Error of what a call has returned, and frees the library's.
func check(status C.inlay_status, failure *C.inlay_error) error {
	if status == C.INLAY_OK {
		return nil
	}
	defer C.inlay_error_free(failure)
	return &Error{int32(status), C.GoString(C.inlay_error_message(failure))}
}

// Model is a GGUF file, opened and ready to run.
type Model struct{ handle *C.inlay_model }

// Options say how a model is opened.
type Options struct {
	Threads int32  // of a forward pass on the CPU; 0: one per core
	Kernels string // "generic", "avx2", "avx512", "amx" or "", the best
}

// Open opens a model.
func Open(path string, given Options) (*Model, error) {
	if found := C.inlay_abi_version(); found != C.INLAY_ABI_VERSION {
		return nil, fmt.Errorf("libinlay has version %d of the ABI, the header version %d", found, C.INLAY_ABI_VERSION)
	}
	cPath := C.CString(path)
	defer C.free(unsafe.Pointer(cPath))
	var options C.inlay_model_options
	C.inlay_model_options_init(&options, C.sizeof_inlay_model_options)
	options.threads = C.int32_t(given.Threads)
	if given.Kernels != "" {
		options.cpu_isa = C.CString(given.Kernels)
		defer C.free(unsafe.Pointer(options.cpu_isa))
	}
	model := &Model{}
	var failure *C.inlay_error
	if err := check(C.inlay_model_open(cPath, &options, &model.handle, &failure), failure); err != nil {
		return nil, err
	}
	return model, nil
}

// Close gives the model up.
func (model *Model) Close() {
	C.inlay_model_close(model.handle)
	model.handle = nil
}

// Tokenize returns the token ids of a text with those that the model wants around it.
func (model *Model) Tokenize(text string) ([]Token, error) {
	data := []byte(text + "\x00") // never empty, so that it has an address
	tokens := make([]Token, len(data)+1)
	for {
		var size C.size_t
		var failure *C.inlay_error
		status := C.inlay_tokenize(model.handle, (*C.char)(unsafe.Pointer(&data[0])), C.size_t(len(text)),
			C.INLAY_ADD_SPECIAL, (*C.inlay_token)(&tokens[0]), C.size_t(len(tokens)), &size, &failure)
		err := check(status, failure)
		if status != C.INLAY_BUFFER_TOO_SMALL {
			return tokens[:size], err
		}
		tokens = make([]Token, size)
	}
}

// Sampling says how the next token is chosen; the zero value is greedy.
type Sampling struct {
	Temperature float32
	Seed        uint64
	TopK        int32 // 0: all
}

// Session is one sequence of tokens and its KV cache.
type Session struct{ handle *C.inlay_session }

// Session makes a sequence of at most contextLength tokens; 0: as many as the model was trained for.
func (model *Model) Session(contextLength int32, sampling Sampling) (*Session, error) {
	// In C's memory: a Go struct that is passed to C must not hold a pointer to another one.
	chosen := (*C.inlay_sampling_options)(C.malloc(C.sizeof_inlay_sampling_options))
	defer C.free(unsafe.Pointer(chosen))
	C.inlay_sampling_options_init(chosen, C.sizeof_inlay_sampling_options)
	chosen.temperature = C.float(sampling.Temperature)
	chosen.seed = C.uint64_t(sampling.Seed)
	chosen.top_k = C.int32_t(sampling.TopK)

	var options C.inlay_session_options
	C.inlay_session_options_init(&options, C.sizeof_inlay_session_options)
	options.sampling = chosen
	options.context_length = C.int32_t(contextLength)
	session := &Session{}
	var failure *C.inlay_error
	status := C.inlay_session_create(model.handle, &options, &session.handle, &failure)
	if err := check(status, failure); err != nil {
		return nil, err
	}
	return session, nil
}

// Close frees the session.
func (session *Session) Close() {
	C.inlay_session_free(session.handle)
	session.handle = nil
}

// Prefill appends tokens and evaluates them.
func (session *Session) Prefill(tokens []Token) error {
	var data *C.inlay_token
	if len(tokens) > 0 {
		data = (*C.inlay_token)(&tokens[0])
	}
	var failure *C.inlay_error
	return check(C.inlay_session_prefill(session.handle, data, C.size_t(len(tokens)), &failure), failure)
}

// Step chooses the next token and appends it.
func (session *Session) Step() (Token, error) {
	var token C.inlay_token
	var failure *C.inlay_error
	err := check(C.inlay_session_step(session.handle, &token, &failure), failure)
	return Token(token), err
}

// Logits returns a view of the logits after the last token, valid until the next call on the session.
func (session *Session) Logits() ([]float32, error) {
	var data *C.float
	var size C.size_t
	var failure *C.inlay_error
	if err := check(C.inlay_session_logits(session.handle, &data, &size, &failure), failure); err != nil {
		return nil, err
	}
	return unsafe.Slice((*float32)(data), int(size)), nil
}

// Fork makes a second session with the same tokens and sampler state.
func (session *Session) Fork() (*Session, error) {
	fork := &Session{}
	var failure *C.inlay_error
	if err := check(C.inlay_session_fork(session.handle, &fork.handle, &failure), failure); err != nil {
		return nil, err
	}
	return fork, nil
}

// Rewind drops all tokens from position length on.
func (session *Session) Rewind(length int32) error {
	var failure *C.inlay_error
	return check(C.inlay_session_rewind(session.handle, C.int32_t(length), &failure), failure)
}

// Cancel ends the call that runs on the session, or the next one. From any goroutine, before Close.
func (session *Session) Cancel() { C.inlay_session_cancel(session.handle) }
