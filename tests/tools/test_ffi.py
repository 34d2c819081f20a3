#!/usr/bin/env python3
"""Builds the generate programs of examples/ in C, Python, Rust and Go against the installed inlay, and compares their
tokens with those of inlay-run.

A language without its tools on this machine is a skipped test.
"""
import argparse
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time
import unittest

from toolchain import environment, library_folder, run

REAL_MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
N_TOKENS = 24
# the prompt and the temperature of the sampled case; the tiny model's noise has bytes that are no UTF-8
TINY_CASE, REAL_CASE = ("hello", "3"), ("The capital of France is", "0.8")
SEED = "7"


def real_model():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(cache, "inlay", REAL_MODEL)


def run_inlay(model, *arguments):
    """The report of inlay-run."""
    return json.loads(run(OPTIONS.inlay_run, "--json", "-m", model, *arguments).splitlines()[0])


def kernels_of_all(model):
    """The best kernels that every process gets. Linux refuses AMX to one whose alternate signal stack is too small for
    its registers, as that of older Rust programs is, and results with AMX are rounded otherwise."""
    best = run_inlay(model, "-n", "0")["isa"]
    return "avx512" if best == "amx" else best


def build_c():
    flags = shlex.split(run("pkg-config", "--cflags", "--libs", "inlay", env=ENVIRONMENT))
    program = WORK / "generate_c"
    run(OPTIONS.cc, "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", EXAMPLES / "c/generate.c", "-o", program,
        *flags)  # fmt: skip
    return [program]


def build_python():
    return [sys.executable, EXAMPLES / "python/generate.py"]


def build_rust():
    run("cargo", "build", "--locked", "--offline", "--manifest-path", EXAMPLES / "rust/Cargo.toml", "--target-dir",
        WORK / "rust", env=ENVIRONMENT)  # fmt: skip
    return [WORK / "rust/debug/generate"]


def build_go():
    program = WORK / "generate_go"
    variables = {"GOCACHE": WORK / "go-cache", "GOPATH": WORK / "go-path", "GOPROXY": "off", "GOTOOLCHAIN": "local",
                 "CGO_ENABLED": "1", "GOFLAGS": "-buildvcs=false"}  # fmt: skip
    run("go", "build", "-o", program, "./generate", cwd=EXAMPLES / "go", env={**ENVIRONMENT, **variables})
    return [program]


def generate(command, *arguments):
    """(token ids, text) that a generate program prints."""
    done = subprocess.run([*command, *arguments], capture_output=True, env=ENVIRONMENT, timeout=120)
    if done.returncode != 0:
        raise AssertionError(f"{command}: status {done.returncode}\n{done.stderr.decode()}")
    label, *ids = done.stderr.decode().split()
    if label != "tokens:":
        raise AssertionError(f"{command}: unexpected output {done.stderr!r}")
    return [int(token) for token in ids], done.stdout.decode()


class SameTokens(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """What inlay-run generates: (arguments, tokens, text) per case."""
        cls.expected = []
        models = [(OPTIONS.model, TINY_CASE)] + [(str(path), REAL_CASE) for path in [real_model()] if path.exists()]
        for model, (prompt, temperature) in models:
            texts, kernels = set(), kernels_of_all(model)
            for chosen in "0", temperature:
                report = run_inlay(model, "-p", prompt, "-n", str(N_TOKENS), "--temperature", chosen, "--seed", SEED,
                                   "--isa", kernels)  # fmt: skip
                arguments = [model, prompt, str(N_TOKENS), chosen, SEED, kernels]
                cls.expected.append((arguments, report["output_tokens"], report["text"]))
                texts.add(report["text"])
                print(f"{pathlib.Path(model).name}, {kernels}, temperature {chosen}: {report['output_tokens']}")
                assert len(report["output_tokens"]) == N_TOKENS or chosen != "0", "the greedy case ends early"
            assert len(texts) == 2, "the sampled text is the greedy one: it shows nothing"

    def check(self, language, build, tool=None):
        if tool and not shutil.which(tool):
            self.skipTest(f"{language}: {tool} is missing")
        start = time.monotonic()
        command = build()
        built = time.monotonic()
        for arguments, tokens, text in self.expected:
            with self.subTest(language=language, arguments=arguments):
                self.assertEqual(generate(command, *arguments), (tokens, text + "\n"))
        print(f"{language}: built in {built - start:.1f} s; {len(self.expected)} texts of {N_TOKENS} tokens or fewer "
              f"are the same, {time.monotonic() - built:.1f} s")  # fmt: skip

        done = subprocess.run([*command, "/no/such.gguf"], capture_output=True, env=ENVIRONMENT, timeout=120)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"/no/such.gguf", done.stderr)

    def test_c(self):
        self.check("C", build_c)

    def test_python(self):
        self.check("Python", build_python)

    def test_rust(self):
        self.check("Rust", build_rust, "cargo")

    def test_go(self):
        self.check("Go", build_go, "go")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in "examples", "installed", "work", "cc", "inlay-run", "model":
        parser.add_argument(f"--{name}", required=True)
    OPTIONS = parser.parse_args()
    EXAMPLES, WORK = pathlib.Path(OPTIONS.examples), pathlib.Path(OPTIONS.work)
    WORK.mkdir(parents=True, exist_ok=True)
    library = library_folder(OPTIONS) / "libinlay.so"
    ENVIRONMENT = {**environment(OPTIONS), "INLAY_LIBRARY": str(library), "PYTHONDONTWRITEBYTECODE": "1"}
    unittest.main(argv=sys.argv[:1], verbosity=1)
