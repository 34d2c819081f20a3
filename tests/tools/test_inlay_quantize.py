#!/usr/bin/env python3
"""Tests of inlay-quantize as a program: test_inlay_quantize.py INLAY_QUANTIZE INLAY_RUN MODEL."""
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import unittest

PROGRAM, RUN, MODEL = sys.argv[1:4]
CLOSING_LINE = r"inlay-quantize: (\w+), [\d.]+ MB from [\d.]+ MB in [\d.]+ s\n"


def run(*arguments, **keywords):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, timeout=120, **keywords)


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.out = os.path.join(folder.name, "out.gguf")


class Quantising(InFolder):
    def test_the_result_runs(self):
        done = run(MODEL, self.out, "Q8_0", "--threads", "2")
        self.assertEqual((done.returncode, done.stdout), (0, b""), done.stderr)
        self.assertRegex(done.stderr.decode(), rf"\A{CLOSING_LINE}\Z")
        self.assertEqual(os.listdir(self.folder), ["out.gguf"])
        text = subprocess.run([RUN, "-m", self.out, "-p", "hello", "-n", "4", "--json"], capture_output=True, timeout=120)
        self.assertEqual(json.loads(text.stdout)["model"]["quantization"], "Q8_0")

    def test_threads_do_not_change_the_file(self):
        results = []
        for threads in "1", "3":
            self.assertEqual(run(MODEL, self.out, "Q4_0", "-t", threads).returncode, 0)
            with open(self.out, "rb") as file:
                results.append(file.read())
        self.assertEqual(*results)

    def test_a_bar_is_shown_on_a_terminal_only(self):
        master, slave = pty.openpty()
        done = subprocess.run([PROGRAM, MODEL, self.out, "Q4_K_M"], stderr=slave, timeout=120)
        os.close(slave)
        shown = os.read(master, 65536).decode()
        os.close(master)
        self.assertEqual(done.returncode, 0, shown)
        self.assertRegex(shown, r"\r\[#{40}\] 100%")
        self.assertNotIn("[", run(MODEL, self.out, "Q4_K_M").stderr.decode())

    def test_version_and_help(self):
        self.assertRegex(run("--version").stdout.decode(), r"\Ainlay-quantize \d+\.\d+\.\d+\n\Z")
        help_text = run("--help").stdout.decode()
        for word in "Q4_K_M", "BF16", "--threads":
            self.assertIn(word, help_text)


class Refusing(InFolder):
    def check(self, status, *arguments, names):
        done = run(*arguments)
        self.assertEqual(done.returncode, status, done)
        self.assertRegex(done.stderr.decode(), r"\Ainlay-quantize: .+\n\Z")
        self.assertIn(names, done.stderr.decode())
        self.assertEqual(os.listdir(self.folder), [])

    def test_usage_errors_have_status_2(self):
        self.check(2, names="IN")
        self.check(2, MODEL, self.out, names="TYPE")
        self.check(2, MODEL, self.out, "Q4_0", "--no-such-option", names="--no-such-option")
        self.check(2, MODEL, self.out, "Q4_0", "-t", "many", names="many")

    def test_failures_have_status_1_and_name_the_thing(self):
        self.check(1, MODEL, self.out, "Q7_9", names='type "Q7_9"')
        self.check(1, MODEL, self.out, "Q4_0", "-t", "-1", names="threads")
        self.check(1, "/no/such.gguf", self.out, "Q4_0", names="/no/such.gguf")
        self.check(1, PROGRAM, self.out, "Q4_0", names=PROGRAM)
        self.check(1, MODEL, "/no/such/folder/out.gguf", "Q4_0", names="/no/such/folder")


class Interrupting(InFolder):
    def test_ctrl_c_leaves_nothing_behind(self):
        process = subprocess.Popen([PROGRAM, MODEL, self.out, "Q4_K_M"], stderr=subprocess.PIPE)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=120)[1]
        self.assertIn(process.returncode, (0, 130, -signal.SIGINT), errors)  # the model is small: it may be done
        self.assertEqual([name for name in os.listdir(self.folder) if ".part" in name], [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
