#!/usr/bin/env python3
"""Tests of benchmarks/compare_llama_cpp.py without llama.cpp: test_compare.py ROOT LIBRARY INLAY_BENCH MODEL.

inlay's worker runs on a tiny model; programs of a few lines stand in for the other engine.
"""
import argparse
import pathlib
import statistics
import subprocess
import sys
import unittest
import xml.etree.ElementTree

ROOT, LIBRARY, BENCH, MODEL = sys.argv[1:5]
sys.path.insert(0, str(pathlib.Path(ROOT, "benchmarks")))
sys.dont_write_bytecode = True

import compare_llama_cpp as program  # noqa: E402
from compare import environment  # noqa: E402
from compare.chart import to_svg  # noqa: E402
from compare.engines import EngineFailed, EngineProcess, inlay_process  # noqa: E402
from compare.measure import VARIANTS, Cell, Comparison, all_cells, context_for  # noqa: E402
from compare.table import to_markdown  # noqa: E402

# Answers every call: opening with a description, the others with seconds.
STAND_IN = """
import json, sys
for line in sys.stdin:
    call = json.loads(line)["call"]
    about = {"version": "1", "features": "", "variants": []}
    print(json.dumps({"result": about if call == "open" else 0.5}), flush=True)
"""
CRASHES_AT_PREFILL = STAND_IN.replace("    about", "    if call == 'prefill': __import__('os').abort()\n    about")
SPINS = """
import sys, time
sys.stdin.readline()
print('{"result": 0}', flush=True)
end = time.monotonic() + 60
while time.monotonic() < end: pass
"""


def stand_in(code):
    return EngineProcess("llama.cpp", [sys.executable, "-c", code])


def compare(code, cells, rounds=3):
    """The document of a comparison of inlay with a stand-in."""
    options = argparse.Namespace(isa=None, rounds=rounds, threads=[1])
    document = program.empty_document(options)
    report = program.bench_report(options, environment.Inlay(pathlib.Path(LIBRARY), pathlib.Path(BENCH)), MODEL)
    document["models"][MODEL] = report["model"]
    program.note_bandwidth(document, report)
    engines = {"inlay": inlay_process(sys.executable, pathlib.Path(LIBRARY)), "llama.cpp": stand_in(code)}
    comparison = Comparison(engines, MODEL, 1, None, context_for(cells))
    program.compare(options, comparison, cells, document)
    program.add_shares(document)
    return document


class Comparing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cells = all_cells([4, 70], [0, 65], 6)
        cls.document = compare(STAND_IN, cls.cells)

    def test_every_cell_has_all_samples_and_a_ratio(self):
        self.assertEqual(len(self.document["cells"]), 5)
        for cell in self.document["cells"]:
            self.assertEqual(cell["errors"], {})
            for engine, variants in VARIANTS.items():
                self.assertEqual(list(cell["seconds"][engine]), variants)
                for samples in cell["seconds"][engine].values():
                    self.assertEqual(len(samples), 3)
                    self.assertGreater(min(samples), 0)
            own = statistics.median(cell["seconds"]["inlay"][""])
            self.assertAlmostEqual(cell["ratio"], 0.5 / own)
            self.assertEqual(len(cell["round_ratios"]), 3)
        print(len(self.document["cells"]), "cells")

    def test_decoding_has_its_share_of_the_bandwidth(self):
        for cell in self.document["cells"]:
            self.assertEqual("bandwidth_share" in cell, cell["phase"] == "decode")
        model = self.document["models"][MODEL]
        cell = self.document["cells"][-1]
        seen = cell["bandwidth_share"]["llama.cpp"] * self.document["read_bandwidth"]["1"] * 1e9
        self.assertAlmostEqual(seen, (model["token_bytes"] + 68.5 * model["kv_bytes_per_position"]) * 6 / 0.5)

    def test_the_table_has_a_row_for_each_cell(self):
        rows = [line for line in to_markdown(self.document).splitlines() if line.startswith("|")]
        self.assertEqual(len(rows), 2 + 5)
        self.assertEqual(len({row.count("|") for row in rows}), 1)

    def test_the_chart_is_xml_with_a_bar_for_each_cell(self):
        document = xml.etree.ElementTree.fromstring(to_svg(self.document))
        bars = [part for part in document.iter() if part.get("class") in ("faster", "slower")]
        self.assertEqual(len(bars), 5)

    def test_a_crash_loses_its_cell_only(self):
        document = compare(CRASHES_AT_PREFILL, [Cell("prefill", 4), Cell("decode", 4)])
        prefill, decode = document["cells"]
        self.assertEqual(prefill["errors"], {"llama.cpp": "crashed (SIGABRT)"})
        self.assertNotIn("ratio", prefill)
        self.assertIn("inlay", prefill["median_seconds"])
        self.assertEqual(decode["errors"], {})
        self.assertIn("crashed (SIGABRT)", to_markdown(document))
        self.assertIn("crashed (SIGABRT)", to_svg(document))


class Engines(unittest.TestCase):
    def test_failures_of_inlay_come_with_its_message(self):
        engine = inlay_process(sys.executable, pathlib.Path(LIBRARY))
        with self.assertRaisesRegex(EngineFailed, "/no/such.gguf"):
            engine.call("open", model="/no/such.gguf", threads=1, context=8, isa=None)
        with self.assertRaisesRegex(EngineFailed, "z80"):
            engine.call("open", model=MODEL, threads=1, context=8, isa="z80")
        self.assertEqual(engine.call("open", model=MODEL, threads=2, context=8, isa="generic")["features"], "generic")
        engine.close()

    def test_a_sleeping_engine_is_idle_at_once(self):
        engine = inlay_process(sys.executable, pathlib.Path(LIBRARY))
        engine.call("open", model=MODEL, threads=2, context=64, isa=None)
        engine.call("rest", variant="", depth=20)
        self.assertLess(engine.wait_until_idle(), 2)
        engine.close()

    def test_an_engine_that_spins_is_noticed(self):
        engine = stand_in(SPINS)
        engine.call("open")
        with self.assertRaisesRegex(EngineFailed, "still uses the CPU"):
            engine.wait_until_idle()
        self.assertEqual(engine.bury(), "crashed (SIGKILL)")


class Program(unittest.TestCase):
    def test_a_command_line_without_models_is_refused(self):
        script = pathlib.Path(ROOT, "benchmarks/compare_llama_cpp.py")
        for arguments in [], ["model.gguf", "--prefill", "0"], ["model.gguf", "--isa", "z80"]:
            done = subprocess.run([sys.executable, "-B", script, *arguments], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn("error:", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
