"""KL divergence of next-token distributions from the float32 reference: KL(reference || engine), in nats.

    python3 kl_divergence.py MODEL.gguf [--inlay libinlay.so] [--json OUTPUT.json]     needs numpy, gguf, llama-cpp-python

Every token of tests/golden/kl_text.txt is fed once, from an empty context; row i of an engine's logits is its prediction
after token i, and every row counts. The reference is tests/golden/reference_llama.py. llama.cpp runs on the CPU in several
ways, which differ only in how many tokens go into one batch and in the attention kernel.
--inlay runs the shared library through its C API, token by token. --inlay-logits reads the logits from a file instead: raw
little-endian float32 [positions, vocab], written by any program for the same token ids ("text_ids" of the JSON output).
--inlay-only leaves llama.cpp out.
"""
import argparse
import ctypes
import importlib.metadata
import json
import pathlib
import sys

import llama_cpp
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/golden"))
from make_kl_reference import TEXT, log_softmax, tokenize_text  # noqa: E402
from reference_llama import ReferenceLlama  # noqa: E402

# name, tokens per batch (0: all at once), flash attention
LLAMA_CPP_RUNS = [
    ("one batch", 0, False),
    ("batches of 512 (default)", 512, False),
    ("one token at a time", 1, False),
    ("one batch, flash attention", 0, True),
    ("one token at a time, flash attention", 1, True),
]


def llama_cpp_logits(path, ids, batch, flash_attention):
    context = (len(ids) + 255) // 256 * 256
    batch = batch or context
    model = llama_cpp.Llama(
        path, n_ctx=context, n_batch=batch, n_ubatch=batch, flash_attn=flash_attention, logits_all=True, verbose=False
    )
    model.eval(ids)
    return model.scores[: len(ids)].copy()


def dumped_logits(path, positions, vocab_size):
    expected = positions * vocab_size * 4
    found = pathlib.Path(path).stat().st_size
    if found != expected:
        raise SystemExit(f"{path}: expected {expected} bytes ([{positions}, {vocab_size}] float32), found {found}")
    return np.memmap(path, "<f4", "r", shape=(positions, vocab_size))


class Inlay:
    """The few functions of include/inlay.h that logits need."""

    def __init__(self, library, model):
        self.library = ctypes.CDLL(str(pathlib.Path(library).resolve()))
        self.library.inlay_error_message.restype = ctypes.c_char_p
        self.model, self.session = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("inlay_model_open", model.encode(), None, ctypes.byref(self.model))
        self.call("inlay_session_create", self.model, None, ctypes.byref(self.session))

    def call(self, name, *arguments):
        error = ctypes.c_void_p()
        if getattr(self.library, name)(*arguments, ctypes.byref(error)) != 0:
            raise SystemExit(f"{name}: {self.library.inlay_error_message(error).decode()}")

    def logits_after(self, token):
        data, size = ctypes.POINTER(ctypes.c_float)(), ctypes.c_size_t()
        self.call("inlay_session_prefill", self.session, ctypes.byref(ctypes.c_int32(token)), ctypes.c_size_t(1))
        self.call("inlay_session_logits", self.session, ctypes.byref(data), ctypes.byref(size))
        return np.ctypeslib.as_array(data, (size.value,)).copy()

    def close(self):
        self.library.inlay_session_free(self.session)
        self.library.inlay_model_close(self.model)


def inlay_logits(library, model, ids):
    engine = Inlay(library, model)
    rows = np.stack([engine.logits_after(token) for token in ids])
    engine.close()
    return rows


def compare(reference, logits):
    """Statistics of KL(reference || engine); `reference` holds log-probabilities, both are [positions, vocab]."""
    if not np.isfinite(logits).all():
        raise SystemExit("the engine's logits are not all finite")
    divergence = np.empty(len(reference))
    same_top = 0
    for i, (row, engine_row) in enumerate(zip(reference, logits, strict=True)):
        divergence[i] = np.sum(np.exp(row) * (row - log_softmax(engine_row)))
        same_top += int(np.argmax(row) == np.argmax(engine_row))
    return {
        "mean": float(divergence.mean()),
        "median": float(np.median(divergence)),
        "p99": float(np.percentile(divergence, 99)),
        "max": float(divergence.max()),
        "top1_agreement": same_top / len(reference),
    }


def show(name, figures):
    print(
        f"{name:45} mean {figures['mean']:.6f}  median {figures['median']:.6f}  p99 {figures['p99']:.6f}  "
        f"max {figures['max']:.6f}  same top token {100 * figures['top1_agreement']:.2f}%",
        flush=True,
    )


def rounded(figures):
    return {key: float(f"{value:.5g}") for key, value in figures.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--inlay", metavar="LIBRARY")
    parser.add_argument("--inlay-logits", metavar="FILE")
    parser.add_argument("--inlay-only", action="store_true")
    parser.add_argument("--json", metavar="OUTPUT")
    options = parser.parse_args()
    if options.inlay_only and options.json:
        parser.error("--json describes the llama.cpp runs that --inlay-only leaves out")

    ids = tokenize_text(options.model)
    reference = log_softmax(ReferenceLlama(options.model).forward(ids))
    print(f"{len(ids)} positions of {TEXT.name}")

    runs = []
    for name, batch, flash_attention in [] if options.inlay_only else LLAMA_CPP_RUNS:
        figures = compare(reference, llama_cpp_logits(options.model, ids, batch, flash_attention))
        show(f"llama.cpp, {name}", figures)
        settings = {"name": name, "n_batch": batch or "all", "n_ubatch": batch or "all", "flash_attn": flash_attention}
        runs.append(settings | {"kv_type": "f16"} | rounded(figures))
    if options.inlay:
        show("inlay", compare(reference, inlay_logits(options.inlay, options.model, ids)))
    if options.inlay_logits:
        show("inlay, from a file", compare(reference, dumped_logits(options.inlay_logits, *reference.shape)))
    if options.json:
        best = min(runs, key=lambda run: run["mean"])
        document = {
            "about": "Made by benchmarks/kl_divergence.py: KL(reference || llama.cpp) in nats over all positions.",
            "versions": {name: importlib.metadata.version(name) for name in ("llama-cpp-python", "gguf", "numpy")},
            "cpu_features": llama_cpp.llama_print_system_info().decode().strip(" |"),
            "positions": len(ids),
            "best_mean": best["mean"],
            "runs": runs,
            "text": f"tests/golden/{TEXT.name}",
            "tokenize_flags": "add_special = true, parse_special = false",
            "text_ids": ids,
        }
        lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in document.items() if key != "runs"]
        lines.append(' "runs": [\n' + ",\n".join("  " + json.dumps(run) for run in runs) + "\n ]")
        pathlib.Path(options.json).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
