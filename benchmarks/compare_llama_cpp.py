#!/usr/bin/env python3
"""How fast inlay is compared with llama.cpp: both engines on the same files, in turn, on this machine.

    benchmarks/compare_llama_cpp.py MODEL.gguf... [--threads 1,2] [--json OUT.json] [--svg OUT.svg]

Builds inlay (the release preset) and, into a virtual environment below build/, a pinned llama-cpp-python, both
compiled for this machine; --isa avx2 holds both to AVX2. Every engine lives in a process of its own, loads the model
once for each number of threads, and sleeps while the other one is measured. A measurement is a round of each in turn
(A B A B ...) after a warm-up; the ratio is that of the medians. llama.cpp runs with and without flash attention in
every round, and the better of the two counts.

prefill     evaluates N tokens from an empty context, with the logits of the last one
decode      evaluates tokens one by one behind `depth` others, with the logits of each; no sampling on either side
first token from opening the file, which lies in the page cache, to the first token behind a prompt of 32, in a fresh
            process with the engine's libraries loaded

Decode rows show the share of the read bandwidth, which inlay-bench measures before and after: bytes of the weights and
of the KV cache (F16) that a token reads, times tokens a second. An engine that crashes loses its cell; the rest goes
on.
"""
import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

from compare import environment
from compare.chart import to_svg
from compare.engines import inlay_process, llama_cpp_process
from compare.environment import Inlay, SetupError, say
from compare.measure import ENGINES, Cell, Comparison, all_cells, context_for
from compare.table import speed, test_name, to_markdown


def numbers(least: int) -> Any:
    def parse(words: str) -> list[int]:
        values = [int(word) for word in words.split(",")]
        if min(values) < least:
            raise ValueError
        return values

    parse.__name__ = f"list of numbers from {least} on"
    return parse


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="GGUF files")
    parser.add_argument("--threads", type=numbers(1), default=[1, 2], metavar="N,...", help="default: 1,2")
    parser.add_argument("--prefill", type=numbers(2), default=[32, 128, 512, 2048], metavar="N,...",
                        help="tokens to prefill (default: 32,128,512,2048)")  # fmt: skip
    parser.add_argument("--depth", type=numbers(0), default=[0, 1024], metavar="N,...",
                        help="tokens in the KV cache before decoding (default: 0,1024)")  # fmt: skip
    parser.add_argument("--decode-tokens", type=int, default=32, metavar="N", help="default: 32")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--isa", choices=["avx2"], help="hold both engines to an instruction set")
    parser.add_argument("--venv", type=pathlib.Path, metavar="DIR", help="the environment of llama-cpp-python")
    parser.add_argument("--build", type=pathlib.Path, metavar="DIR", help="a build of inlay instead of build/release")
    parser.add_argument("--json", type=pathlib.Path, metavar="OUT", help="write everything that was measured")
    parser.add_argument("--svg", type=pathlib.Path, metavar="OUT", help="draw the ratios")
    parser.add_argument("--from-json", type=pathlib.Path, metavar="IN", help="measure nothing, show what --json wrote")
    options = parser.parse_args()
    if bool(options.models) == bool(options.from_json):
        parser.error("expected models, or --from-json")
    if options.decode_tokens < 2 or options.rounds < 1:
        parser.error("expected at least 2 decode tokens and 1 round")
    return options


def bench_report(options: argparse.Namespace, inlay: Inlay, model: str) -> dict[str, Any]:
    """Sizes of the model, and the read bandwidth of each number of threads."""
    threads = ",".join(map(str, options.threads))
    command = [str(inlay.bench), "-m", model, "-p", "0", "-n", "0", "-t", threads, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SetupError(done.stderr.strip())
    return json.loads(done.stdout)


def note_bandwidth(document: dict[str, Any], report: dict[str, Any]) -> None:
    best = document["read_bandwidth"]
    for entry in report["read_bandwidth"]:
        threads = str(entry["threads"])
        best[threads] = max(best.get(threads, 0.0), entry["gb_per_second"])


def check_features(options: argparse.Namespace, about: dict[str, dict[str, Any]]) -> None:
    """An environment of the user's own may hold any build."""
    peer = about.get("llama.cpp", {}).get("features", "")
    if options.isa == "avx2" and "AVX512 = 1" in peer:
        raise SetupError(f"llama.cpp was built with AVX-512, which --isa avx2 rules out: {peer}")
    if "AMX_INT8 = 1" in peer:
        say("warning: llama.cpp was built with AMX, with which this version may crash")


def show_progress(model: str, threads: int, cell: dict[str, Any]) -> None:
    ratio = f", ratio {cell['ratio']:.2f}" if "ratio" in cell else ""
    speeds = ", ".join(f"{engine} {speed(cell, engine)}" for engine in ENGINES)
    say(f"{pathlib.Path(model).name}, {threads} thread{'s' * (threads != 1)}, {test_name(cell)}: {speeds}{ratio}")


def compare(options: argparse.Namespace, comparison: Comparison, cells: list[Cell], document: dict[str, Any]) -> None:
    try:
        for cell in cells:
            result = comparison.measure(cell, options.rounds).document()
            document["cells"].append(result)
            for engine, about in comparison.about.items():
                document["features"][engine] = about["features"]
                document["versions"][engine] = about["version"]
            check_features(options, comparison.about)
            show_progress(comparison.model, comparison.threads, result)
    finally:
        comparison.close()
    waited = max(document["longest_wait_for_idle_seconds"], comparison.longest_wait_seconds)
    document["longest_wait_for_idle_seconds"] = waited


def add_shares(document: dict[str, Any]) -> None:
    for cell in document["cells"]:
        limit = document["read_bandwidth"].get(str(cell["threads"]), 0.0) * 1e9
        if cell["phase"] != "decode" or limit == 0:
            continue
        model = document["models"][cell["model"]]
        positions = cell["depth"] + (cell["tokens"] + 1) / 2
        token_bytes = model["token_bytes"] + positions * model["kv_bytes_per_position"]
        cell["bandwidth_share"] = {
            engine: token_bytes * cell["tokens"] / seconds / limit for engine, seconds in cell["median_seconds"].items()
        }


def empty_document(options: argparse.Namespace) -> dict[str, Any]:
    machine = {"cpu": environment.cpu_name(), "cores": len(os.sched_getaffinity(0)), "system": platform.platform()}
    return {
        "machine": machine,
        "isa": options.isa,
        "rounds": options.rounds,
        "versions": {"inlay": "?", "llama.cpp": environment.PEER_VERSION},
        "features": {},
        "models": {},
        "read_bandwidth": {},
        "longest_wait_for_idle_seconds": 0.0,
        "cells": [],
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    python = environment.install_peer(options.venv, options.isa)
    inlay = environment.build_inlay(options.build)
    document = empty_document(options)
    cells = all_cells(options.prefill, options.depth, options.decode_tokens)
    for model in map(str, options.models):
        report = bench_report(options, inlay, model)
        document["models"][model] = report["model"]
        note_bandwidth(document, report)
        for threads in options.threads:
            engines = {"inlay": inlay_process(sys.executable, inlay.library), "llama.cpp": llama_cpp_process(python)}
            comparison = Comparison(engines, model, threads, options.isa, context_for(cells))
            compare(options, comparison, cells, document)
        note_bandwidth(document, bench_report(options, inlay, model))
    add_shares(document)
    return document


def main() -> int:
    options = parse_options()
    try:
        document = json.loads(options.from_json.read_text("utf-8")) if options.from_json else measure(options)
    except SetupError as error:
        say(f"compare_llama_cpp.py: {error}")
        return 1
    print(to_markdown(document))
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.svg:
        options.svg.write_text(to_svg(document), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
