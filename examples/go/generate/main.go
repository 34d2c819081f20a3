// Generates text: generate MODEL [PROMPT [MAX_TOKENS [TEMPERATURE [SEED [KERNELS]]]]]
//
// The text goes to stdout as it comes, the ids of its tokens to stderr at the end.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"example.com/inlay"
)

// argument is the one at index, or a default if there are fewer.
func argument(index int, byDefault string) string {
	if index < len(os.Args) {
		return os.Args[index]
	}
	return byDefault
}

func generate() error {
	maxTokens, err := strconv.ParseInt(argument(3, "256"), 10, 32)
	if err != nil {
		return err
	}
	temperature, err := strconv.ParseFloat(argument(4, "0"), 32)
	if err != nil {
		return err
	}
	seed, err := strconv.ParseUint(argument(5, "0"), 10, 64)
	if err != nil {
		return err
	}

	model, err := inlay.Open(os.Args[1], inlay.Options{Kernels: argument(6, "")})
	if err != nil {
		return err
	}
	defer model.Close()
	session, err := model.Session(0, inlay.Sampling{Temperature: float32(temperature), Seed: seed})
	if err != nil {
		return err
	}
	defer session.Close()
	prompt, err := model.Tokenize(argument(2, "The capital of France is"))
	if err != nil {
		return err
	}
	if err := session.Prefill(prompt); err != nil {
		return err
	}

	ids := []string{"tokens:"}
	_, err = session.Generate(int32(maxTokens), func(token inlay.Token, text string) bool {
		if token >= 0 {
			ids = append(ids, strconv.Itoa(int(token)))
		}
		_, failed := fmt.Print(text)
		return failed == nil
	})
	if err != nil {
		return err
	}
	fmt.Println()
	fmt.Fprintln(os.Stderr, strings.Join(ids, " "))
	return nil
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: generate MODEL [PROMPT [MAX_TOKENS [TEMPERATURE [SEED [KERNELS]]]]]")
		os.Exit(2)
	}
	if err := generate(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}
