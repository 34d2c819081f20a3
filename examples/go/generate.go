package inlay

/*
#include "bridge.h"
*/
import "C"

import "runtime/cgo"

// FinishReason says why a generation has ended.
type FinishReason int32

const (
	EndOfGeneration FinishReason = C.INLAY_FINISH_END_OF_GENERATION
	MaxTokens       FinishReason = C.INLAY_FINISH_MAX_TOKENS
	ContextFull     FinishReason = C.INLAY_FINISH_CONTEXT_FULL
	Stopped         FinishReason = C.INLAY_FINISH_STOPPED
	Cancelled       FinishReason = C.INLAY_FINISH_CANCELLED
)

// OnToken receives a token and the text that it completes, which is empty while a character is unfinished; the rest of
// it comes at the end with token -1. It returns whether to go on, and must not call into the same session or panic.
type OnToken func(token Token, text string) bool

// Generate steps until an end token, maxTokens or onToken ends it.
func (session *Session) Generate(maxTokens int32, onToken OnToken) (FinishReason, error) {
	handle := cgo.NewHandle(onToken)
	defer handle.Delete()
	var reason C.inlay_finish_reason
	var failure *C.inlay_error
	status := C.bridge_generate(session.handle, C.int32_t(maxTokens), C.uintptr_t(handle), &reason, &failure)
	return FinishReason(reason), check(status, failure)
}

//export goOnToken
func goOnToken(handle C.uintptr_t, token C.inlay_token, text *C.char, textSize C.size_t) C.inlay_flow {
	onToken := cgo.Handle(handle).Value().(OnToken)
	if onToken(Token(token), C.GoStringN(text, C.int(textSize))) {
		return C.INLAY_CONTINUE
	}
	return C.INLAY_STOP
}
