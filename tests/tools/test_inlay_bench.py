#!/usr/bin/env python3
"""Tests of inlay-bench as a program: test_inlay_bench.py INLAY_BENCH MODEL."""
import json
import os
import pty
import subprocess
import sys
import unittest

PROGRAM, MODEL = sys.argv[1:3]
COMMON = {"phase", "tokens", "depth", "sequences", "threads", "tokens_per_second", "least_tokens_per_second",
          "most_tokens_per_second", "samples"}  # fmt: skip
PHASE_FIELDS = {"prefill": {"gop_per_second"}, "decode": {"gb_per_second", "bandwidth_share"}}


def run(*arguments, **keywords):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=300, **keywords)


def measure(*arguments):
    done = run("-m", MODEL, "-r", "3", "-o", "json", *arguments)
    if done.returncode != 0 or done.stderr:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


class Measuring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.report = measure("-p", "1,5", "-n", "4", "-d", "0,70", "-t", "1,2", "-b", "1,3")

    def test_every_combination_is_there_once(self):
        keys = ["phase", "tokens", "depth", "sequences", "threads"]
        found = [tuple(result[key] for key in keys) for result in self.report["results"]]
        expected = {
            (phase, tokens, depth, sequences, threads)
            for phase, tokens in [("prefill", 1), ("prefill", 5), ("decode", 4)]
            for depth in (0, 70)
            for sequences in (1, 3)
            for threads in (1, 2)
        }
        self.assertEqual(set(found), expected)
        self.assertEqual(len(found), len(expected))
        print(len(found), "combinations")

    def test_every_field_is_there_and_positive(self):
        for result in self.report["results"]:
            self.assertEqual(set(result), COMMON | PHASE_FIELDS[result["phase"]])
            self.assertEqual(len(result["samples"]), 3)
            numbers = [value for key, value in result.items() if isinstance(value, float)] + result["samples"]
            self.assertTrue(all(number > 0 for number in numbers), result)

    def test_statistics_belong_to_the_samples(self):
        for result in self.report["results"]:
            ordered = sorted(result["samples"])
            least, median, most = (result[f"{name}tokens_per_second"] for name in ("least_", "", "most_"))
            self.assertEqual([least, median, most], ordered)

    def test_figures_follow_their_formulas(self):
        model = self.report["model"]
        limits = {entry["threads"]: entry["gb_per_second"] for entry in self.report["read_bandwidth"]}
        for result in self.report["results"]:
            rate = result["tokens_per_second"]
            if result["phase"] == "prefill":
                parameters = model["layer_parameters"] + model["head_parameters"] / result["tokens"]
                self.assertAlmostEqual(result["gop_per_second"] * 1e9 / (2 * parameters * rate), 1, 6)
                continue
            positions = result["depth"] + (result["tokens"] + 1) / 2
            step_bytes = model["token_bytes"] + result["sequences"] * positions * model["kv_bytes_per_position"]
            expected = step_bytes * rate / result["sequences"] / 1e9
            self.assertAlmostEqual(result["gb_per_second"] / expected, 1, 6)
            share = result["gb_per_second"] / limits[result["threads"]]
            self.assertAlmostEqual(result["bandwidth_share"] / share, 1, 6)

    def test_model_sizes_are_those_of_the_file(self):
        # the tiny model: 2 layers, embedding 64, 4 heads of 16, 2 KV heads, feed-forward 128, vocabulary 320, own head
        model = self.report["model"]
        layer = 64 * 64 * 2 + 64 * 32 * 2 + 64 * 128 * 3
        self.assertEqual(model["layer_parameters"], 2 * layer)
        self.assertEqual(model["head_parameters"], 320 * 64)
        self.assertLess(model["token_bytes"], model["file_bytes"])
        self.assertGreater(model["token_bytes"], (2 * layer + 320 * 64) / 8)
        self.assertGreater(model["kv_bytes_per_position"], 0)

    def test_the_read_bandwidth_is_plausible(self):
        limits = self.report["read_bandwidth"]
        self.assertEqual([entry["threads"] for entry in limits], [1, 2])
        for entry in limits:
            self.assertGreater(entry["gb_per_second"], 0.05)
            self.assertLess(entry["gb_per_second"], 5000)

    def test_zero_tokens_measure_the_bandwidth_alone(self):
        report = measure("-p", "0", "-n", "0", "-t", "1")
        self.assertEqual(report["results"], [])
        self.assertGreater(report["read_bandwidth"][0]["gb_per_second"], 0)

    def test_kernels_can_be_chosen(self):
        self.assertEqual(measure("-p", "2", "-n", "0", "-t", "1", "--isa", "generic")["isa"], "generic")

    def test_the_table_has_a_row_for_each_result(self):
        done = run("-m", MODEL, "-p", "2", "-n", "2", "-d", "0,3", "-t", "1", "-r", "2")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
        self.assertEqual(len(rows), 2 + 4)
        self.assertEqual(len({row.count("|") for row in rows}), 1)
        self.assertIn("read bandwidth, 1 thread:", done.stdout)

    def test_progress_is_shown_on_a_terminal_only(self):
        master, slave = pty.openpty()
        done = subprocess.run([PROGRAM, "-m", MODEL, "-p", "2", "-n", "0", "-r", "2"], stdout=subprocess.DEVNULL,
                              stderr=slave, timeout=300)  # fmt: skip
        os.close(slave)
        shown = os.read(master, 65536)
        os.close(master)
        self.assertEqual(done.returncode, 0, shown)
        self.assertIn(b"prefill 2, depth 0", shown)
        self.assertIn(b"2/2", shown)


class Profiling(unittest.TestCase):
    def test_a_gpu_times_its_steps(self):
        done = run("-m", MODEL, "--device", "cuda", "--profile", "-d", "0,70", "-o", "json")
        if "model option device" in done.stderr:
            self.skipTest(done.stderr.strip())
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        report = json.loads(done.stdout)
        self.assertEqual(report["results"], [])
        self.assertEqual([profile["depth"] for profile in report["profiles"]], [0, 70])
        for profile in report["profiles"]:
            counts = {entry["step"]: entry["count"] for entry in profile["sums"]}
            of_layers = dict.fromkeys(["qkv", "attend", "project", "gate+up", "down"], 2)
            self.assertEqual(counts, {"embed": 1, "head": 1, "choose": 1, **of_layers})
            self.assertEqual(len(profile["steps"]), sum(counts.values()))
            self.assertTrue(all(step["us"] > 0 for step in [*profile["steps"], profile["captured_pass"]]))
        table = run("-m", MODEL, "--device", "cuda", "--profile").stdout
        self.assertIn("| captured pass |", table)


class Refusing(unittest.TestCase):
    def check(self, status, *arguments, names):
        done = run(*arguments)
        self.assertEqual(done.returncode, status, done)
        self.assertRegex(done.stderr, r"\Ainlay-bench: .+\n\Z")
        self.assertIn(names, done.stderr)
        self.assertEqual(done.stdout, "")

    def test_usage_errors_have_status_2(self):
        self.check(2, names="--model")
        for flag in "-p", "-n", "-d", "-t":
            self.check(2, "-m", MODEL, flag, "-1", names="-1")
            self.check(2, "-m", MODEL, flag, "1,many", names="many")
        self.check(2, "-m", MODEL, "-b", "0", names="0")
        self.check(2, "-m", MODEL, "-r", "0", names="0")
        self.check(2, "-m", MODEL, "-o", "xml", names="xml")
        self.check(2, "-m", MODEL, "--device", "abacus", names="abacus")
        self.check(2, "-m", MODEL, "--profile", "-d", "deep", names="deep")
        self.check(2, "-m", MODEL, "--no-such-option", names="--no-such-option")

    def test_failures_have_status_1_and_name_the_thing(self):
        self.check(1, "-m", "/no/such.gguf", names="/no/such.gguf")
        self.check(1, "-m", PROGRAM, names=PROGRAM)
        self.check(1, "-m", MODEL, "--isa", "z80", names="z80")
        self.check(1, "-m", MODEL, "--profile", names="(--device cuda)")

    def test_version_and_help(self):
        self.assertRegex(run("--version").stdout, r"\Ainlay-bench \d+\.\d+\.\d+\n\Z")
        done = run("--help")
        self.assertEqual(done.returncode, 0)
        for word in "--prefill", "--depth", "--profile", "GB/s", "Examples:", "Exit status":
            self.assertIn(word, done.stdout)

    def test_a_full_disk_is_noticed(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "-m", MODEL, "-p", "2", "-n", "0", "-r", "1"], stdout=full,
                                  stderr=subprocess.PIPE, timeout=300)  # fmt: skip
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
