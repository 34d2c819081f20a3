package inlay

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

const cancelled = 8

// open opens the model that the environment variable INLAY_TEST_MODEL names.
func open(t *testing.T) *Model {
	model, err := Open(os.Getenv("INLAY_TEST_MODEL"), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(model.Close)
	return model
}

func newSession(t *testing.T, model *Model, sampling Sampling) *Session {
	session, err := model.Session(0, sampling)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session
}

func steps(t *testing.T, session *Session) []Token {
	var tokens []Token
	for i := 0; i < 8; i++ {
		token, err := session.Step()
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	return tokens
}

func logits(t *testing.T, session *Session) []float32 {
	view, err := session.Logits()
	if err != nil || len(view) == 0 {
		t.Fatal(len(view), err)
	}
	return append([]float32{}, view...)
}

func TestAForkGoesOnAsItsParentAndARewindLeavesNoTrace(t *testing.T) {
	model := open(t)
	session := newSession(t, model, Sampling{Temperature: 2, Seed: 5, TopK: 100})
	prompt, err := model.Tokenize("hello")
	if err != nil || session.Prefill(prompt) != nil {
		t.Fatal(prompt, err)
	}
	before := logits(t, session)
	fork, err := session.Fork()
	if err != nil {
		t.Fatal(err)
	}
	defer fork.Close()
	if ours, theirs := steps(t, session), steps(t, fork); !reflect.DeepEqual(ours, theirs) {
		t.Error(ours, theirs)
	}
	if err := fork.Rewind(int32(len(prompt))); err != nil {
		t.Error(err)
	}
	if !reflect.DeepEqual(before, logits(t, fork)) {
		t.Error("other logits after a rewind")
	}
}

func TestAnotherGoroutineCancels(t *testing.T) {
	session, done := newSession(t, open(t), Sampling{}), make(chan bool)
	go func() {
		session.Cancel()
		close(done)
	}()
	<-done
	if failure, ok := session.Prefill([]Token{5, 6}).(*Error); !ok || failure.Status != cancelled {
		t.Error(failure)
	}
	if err := session.Prefill([]Token{5, 6}); err != nil {
		t.Error(err)
	}
}

func TestACallbackStops(t *testing.T) {
	session, count := newSession(t, open(t), Sampling{}), 0
	if err := session.Prefill([]Token{5, 6}); err != nil {
		t.Fatal(err)
	}
	reason, err := session.Generate(100, func(token Token, text string) bool {
		count++
		return count < 3
	})
	if reason != Stopped || err != nil || count < 3 {
		t.Error(reason, err, count)
	}
}

func TestFailuresNameTheThing(t *testing.T) {
	if _, err := Open("none.gguf", Options{}); err == nil || !strings.Contains(err.Error(), "none.gguf") {
		t.Error(err)
	}
	if err := newSession(t, open(t), Sampling{}).Prefill(nil); err == nil {
		t.Error("no tokens are accepted")
	}
}
