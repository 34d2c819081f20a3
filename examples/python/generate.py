#!/usr/bin/env python3
"""Generates text: generate.py MODEL [PROMPT [MAX_TOKENS [TEMPERATURE [SEED [KERNELS]]]]]

The text goes to stdout as it comes, the ids of its tokens to stderr at the end.
"""
import sys
from typing import List

import inlay


def main(arguments: List[str]) -> int:
    if not 1 <= len(arguments) <= 6:
        print("usage: generate.py MODEL [PROMPT [MAX_TOKENS [TEMPERATURE [SEED [KERNELS]]]]]", file=sys.stderr)
        return 2
    defaults = ["", "The capital of France is", "256", "0", "0", ""]
    path, prompt, max_tokens, temperature, seed, kernels = arguments + defaults[len(arguments) :]
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        with inlay.Model(path, cpu_isa=kernels) as model:
            session = model.session(temperature=float(temperature), seed=int(seed))
            generation = session.generate(prompt, max_tokens=int(max_tokens))
            for piece in generation:
                print(piece, end="", flush=True)
    except inlay.InlayError as error:
        print(f"generate.py: {error}", file=sys.stderr)
        return 1
    print()
    print("tokens:", *generation.tokens, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
