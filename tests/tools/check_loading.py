#!/usr/bin/env python3
"""Checks what it costs a process to have the C library: a small file, quickly loaded, and nothing else.

Loading it and asking it for devices starts no thread, leaves no file open, handles no signal and prints nothing.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

RUNS = 15
MAX_LOAD_MS = 5.0
MAX_BYTES = 5_000_000


def load_once(program, library, folder):
    """What load_quietly counted in a fresh process."""
    report = folder / "report.txt"
    done = subprocess.run([program, library, report], capture_output=True, timeout=60)
    text = report.read_text(encoding="utf-8") if report.exists() else ""
    if done.returncode != 0:
        raise SystemExit(f"{program}: status {done.returncode}: {text}")
    counts = dict(line.split() for line in text.splitlines())
    counts["output_bytes"] = len(done.stdout) + len(done.stderr)
    return {name: float(value) for name, value in counts.items()}


def check_loading(program, library, folder, cuda):
    runs = [load_once(program, library, folder) for _ in range(RUNS)]
    quiet = ["load_threads", "load_files", "load_handlers", "output_bytes"]
    if not cuda:  # a GPU's driver has threads and files of its own
        quiet += ["device_count_threads", "device_count_files", "device_count_handlers"]
    for name in quiet:
        worst = max(run[name] for run in runs)
        print(f"{name}: {worst:g}")
        if worst != 0:
            yield f"{name} must be 0"
    if runs[0]["devices"] < 1:
        yield "inlay_device_count failed"
    times = sorted(run["load_ms"] for run in runs)
    median = statistics.median(times)
    print(f"dlopen: median {median:.2f} ms of {RUNS} fresh processes, {times[0]:.2f} to {times[-1]:.2f} ms")
    if median >= MAX_LOAD_MS:
        yield f"dlopen takes {median:.2f} ms, not less than {MAX_LOAD_MS} ms"


def check_size(strip, library, folder, cuda):
    stripped = folder / "stripped.so"
    subprocess.run([strip, "-o", stripped, library], check=True)
    size = os.path.getsize(stripped)
    print(f"{size} bytes without debug information and names of local symbols")
    if not cuda and size >= MAX_BYTES:  # kernels for several GPUs take more
        yield f"the stripped library has {size} bytes, not less than {MAX_BYTES}"


def main():
    parser = argparse.ArgumentParser()
    for name in "strip", "program", "library":
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--cuda", action="store_true", help="the library has the CUDA backend")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        violations = [*check_loading(options.program, options.library, folder, options.cuda),
                      *check_size(options.strip, options.library, folder, options.cuda)]  # fmt: skip
    print("\n".join(violations))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
