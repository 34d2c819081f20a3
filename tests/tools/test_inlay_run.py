#!/usr/bin/env python3
"""Tests of inlay-run as a program: test_inlay_run.py INLAY_RUN MODEL."""
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import unittest

PROGRAM, MODEL = sys.argv[1:3]
CLOSING_LINE = re.compile(
    r"inlay-run: prefill \d+ tokens, [\d.]+ tok/s; decode \d+ tokens, [\d.]+ tok/s; load \d+ ms; "
    r"(cpu|cuda) \w+, \d+ threads?\n"
)
ONE_LINE = re.compile(r"inlay-run: .+\n")


def run(*arguments, **keywords):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, timeout=120, **keywords)


def run_json(*arguments, **keywords):
    done = run("-m", MODEL, "--json", *arguments, **keywords)
    if done.returncode != 0:
        raise AssertionError(done.stderr.decode())
    return json.loads(done.stdout)


class Generating(unittest.TestCase):
    def test_text_goes_to_stdout_and_one_closing_line_to_stderr(self):
        done = run("-m", MODEL, "-p", "hello", "-n", "8")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr.decode(), CLOSING_LINE)
        self.assertEqual(done.stderr.count(b"\n"), 1)
        text = run_json("-p", "hello", "-n", "8")["text"]
        self.assertEqual(done.stdout.decode(), text if text.endswith("\n") else text + "\n")

    def test_json_is_one_object_with_everything(self):
        result = run_json("-p", "hello", "-n", "8", "-t", "2")
        self.assertEqual(
            list(result),
            ["version", "model", "backend", "device", "isa", "threads", "prompt_tokens", "output_tokens", "text",
             "finish_reason", "timings"],
        )  # fmt: skip
        self.assertEqual(result["model"]["architecture"], "llama")
        self.assertEqual(result["model"]["path"], MODEL)
        self.assertEqual((result["backend"], result["threads"]), ("cpu", 2))
        self.assertGreater(len(result["prompt_tokens"]), 1)
        self.assertLessEqual(len(result["output_tokens"]), 8)
        self.assertIn(result["finish_reason"], ("max_tokens", "end_of_generation"))
        for name in "load_ms", "prefill_ms", "prefill_tokens_per_second":
            self.assertGreater(result["timings"][name], 0)

    def test_the_same_seed_gives_the_same_tokens(self):
        sampled = ["-p", "hello", "-n", "24", "--temperature", "3", "--top-k", "100", "--top-p", "0.99",
                   "--min-p", "0.0001", "--repetition-penalty", "1.1"]  # fmt: skip
        first, again, other = (run_json(*sampled, "--seed", seed)["output_tokens"] for seed in ("3", "3", "4"))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_threads_and_isa_can_be_chosen(self):
        one, three = (run_json("-p", "hello", "-n", "8", "-t", n, "--isa", "generic") for n in ("1", "3"))
        self.assertEqual((one["isa"], one["threads"], three["threads"]), ("generic", 1, 3))
        self.assertEqual(one["output_tokens"], three["output_tokens"])

    def test_the_prompt_comes_from_a_file_or_stdin_too(self):
        expected = run_json("-p", "a\nhello \u00e9", "-n", "1")["prompt_tokens"]
        with tempfile.NamedTemporaryFile() as file:
            file.write("a\nhello \u00e9".encode())
            file.flush()
            self.assertEqual(run_json("-f", file.name, "-n", "1")["prompt_tokens"], expected)
        from_stdin = run_json("-f", "-", "-n", "1", input="a\nhello \u00e9".encode())
        self.assertEqual(from_stdin["prompt_tokens"], expected)

    def test_an_empty_prompt_starts_from_the_begin_token(self):
        self.assertEqual(len(run_json("-n", "2")["prompt_tokens"]), 1)
        self.assertEqual(run_json("-n", "2", "-p", "")["prompt_tokens"], run_json("-n", "2")["prompt_tokens"])

    def test_special_tokens_are_parsed_on_request_only(self):
        plain, special = run_json("-p", "</s>", "-n", "1"), run_json("-p", "</s>", "-n", "1", "--special")
        self.assertLess(len(special["prompt_tokens"]), len(plain["prompt_tokens"]))

    def test_bytes_that_are_no_utf8_are_accepted(self):
        result = run_json("-f", "-", "-n", "4", input=b"\xff\xfe\x00abc")
        self.assertGreater(len(result["prompt_tokens"]), 3)

    def test_gpu_is_used_or_missed_with_a_warning(self):
        done = run("-m", MODEL, "--gpu", "--json", "-n", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        warned = b"warning: no CUDA GPU" in done.stderr
        self.assertEqual(json.loads(done.stdout)["backend"], "cpu" if warned else "cuda")


class Refusing(unittest.TestCase):
    def check(self, status, *arguments, names=""):
        done = run(*arguments, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, status, done)
        self.assertRegex(done.stderr.decode(), rf"\A{ONE_LINE.pattern}\Z")
        self.assertIn(names, done.stderr.decode())
        self.assertEqual(done.stdout, b"")

    def test_usage_errors_have_status_2(self):
        self.check(2, names="--model")
        self.check(2, "-m", MODEL, "--no-such-option", names="--no-such-option")
        self.check(2, "-m", MODEL, "-n", "many", names="many")
        self.check(2, "-m", MODEL, "-p", "a", "-f", "b", names="--file")

    def test_failures_have_status_1_and_name_the_thing(self):
        self.check(1, "-m", "/no/such.gguf", names="/no/such.gguf")
        self.check(1, "-m", "/", names="directory")
        self.check(1, "-m", PROGRAM, names="")
        self.check(1, "-m", MODEL, "-f", "/no/such.txt", names="/no/such.txt")
        self.check(1, "-m", MODEL, "-f", "/", names='"/"')
        self.check(1, "-m", MODEL, "--temperature", "-1", names="temperature")
        self.check(1, "-m", MODEL, "--isa", "z80", names="z80")
        self.check(1, "-m", MODEL, "-t", "-3", names="threads")
        self.check(1, "-m", MODEL, "-c", "-3", names="context_length")
        self.check(1, "-m", MODEL, "-n", "-3", names="max_tokens")
        self.check(1, "-m", MODEL, "-c", "4", "-p", "a longer prompt", names="context")

    def test_version_and_help(self):
        self.assertRegex(run("--version").stdout.decode(), r"\Ainlay-run \d+\.\d+\.\d+\n\Z")
        done = run("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"--temperature", done.stdout)

    def test_a_full_disk_is_noticed(self):
        with open("/dev/full", "wb") as full:
            for extra in [], ["--json"]:
                done = subprocess.run([PROGRAM, "-m", MODEL, "-n", "4", "-p", "hello", *extra], stdout=full,
                                      stderr=subprocess.PIPE, timeout=120)  # fmt: skip
                self.assertEqual(done.returncode, 1)
                self.assertIn(b"standard output", done.stderr)


class Terminal(unittest.TestCase):
    def long_run(self, *extra, **keywords):
        # noise instead of greedy, so that no end token is likely
        return subprocess.Popen([PROGRAM, "-m", MODEL, "-p", "hello", "-n", "1000000", "--temperature", "100",
                                 *extra], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)  # fmt: skip

    def test_text_streams_and_ctrl_c_ends_it_cleanly(self):
        for seed in map(str, range(20)):  # the end token may come by chance, before the signal
            process = self.long_run("--seed", seed)
            first = process.stdout.read(1)
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=120)
            if process.returncode == 0:
                continue
            self.assertEqual(process.returncode, 130, errors)
            self.assertEqual(len(first), 1)
            self.assertTrue(rest.endswith(b"\n"))
            self.assertRegex(errors.decode(), CLOSING_LINE)
            return
        self.fail("every generation ended before the signal")

    def test_load_progress_is_shown_on_a_terminal_only(self):
        master, slave = pty.openpty()
        done = subprocess.run([PROGRAM, "-m", MODEL, "-n", "1"], stdout=subprocess.DEVNULL, stderr=slave, timeout=120)
        os.close(slave)
        shown = os.read(master, 65536)
        os.close(master)
        self.assertEqual(done.returncode, 0, shown)
        self.assertIn(b"loading 100%", shown)
        self.assertNotIn(b"loading", run("-m", MODEL, "-n", "1").stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
