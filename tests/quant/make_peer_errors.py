#!/usr/bin/env python3
"""Writes tests/data/quant/peer_errors.json: the round-trip errors of llama.cpp's quantisers, without an importance
matrix, on tensors that test_peer_errors.cpp makes again bit by bit.

Usage: make_peer_errors.py [MODEL]
Needs llama-cpp-python 0.3.36 (its libggml-base.so is asked to quantise), gguf 0.19 (decodes) and numpy. With MODEL,
SmolLM2-135M-Instruct.Q4_1.gguf, the excerpts of real weights are written again too.
"""

import ctypes
import importlib.metadata
import importlib.util
import json
import pathlib
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "quant"
FORMATS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
WEIGHTS = 1 << 18
EXCERPT = 36864  # weights: 64 rows of 576, 24 of 1536
DEVIATION = 2.0**-6


def hashed(stream, count):
    """Random 32-bit integers: the hash "lowbias32" of a counter (Chris Wellons, public domain)."""
    x = np.arange(count, dtype=np.uint32) + np.uint32(stream << 24)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def gaussian(stream, count):
    """About normal with deviation one: sums of eight 16-bit numbers, exact in doubles."""
    parts = hashed(stream, 4 * count).reshape(count, 4)
    total = ((parts & 0xFFFF).astype(np.float64) + (parts >> 16).astype(np.float64)).sum(axis=1)
    return (total - 4.0 * 65535.0) * 1.2247 / 65536.0  # the sum of eight uniforms has variance 2/3


def student_t():
    """Three degrees of freedom."""
    squares = np.zeros(WEIGHTS)
    for stream in 3, 4, 5:
        value = gaussian(stream, WEIGHTS)
        squares = squares + value * value
    return gaussian(2, WEIGHTS) / np.sqrt(squares / 3.0 + 1e-6)


def sparse():
    """Seven of eight weights are small, one of 512 is an outlier."""
    kind = hashed(7, WEIGHTS)
    value = gaussian(6, WEIGHTS)
    return value * np.where(kind % 512 == 0, 16.0, np.where(kind % 8 == 1, 1.0, 0.03125))


def uneven_rows():
    """Rows of 512 with means and deviations of their own."""
    row = np.repeat(np.arange(WEIGHTS // 512), 512)
    mean = gaussian(9, WEIGHTS // 512)[row] * 0.25
    return mean + gaussian(8, WEIGHTS) * (1.0 + (row % 7))


def dither(stream, count):
    """Uniform in [-0.5, 0.5): what rounding to a level took away."""
    return (hashed(stream, count) >> 8).astype(np.float64) * 2.0**-24 - 0.5


def halves(blocks, offset):
    return blocks[:, offset : offset + 2].copy().view("<f2").astype(np.float64)


def real_embedding():
    blocks = np.frombuffer((DATA / "smollm2_embedding.q8_0").read_bytes(), dtype=np.uint8).reshape(-1, 34)
    levels = blocks[:, 2:].view(np.int8).astype(np.float64)
    return (halves(blocks, 0) * (levels + dither(10, levels.size).reshape(levels.shape))).ravel()


def real_ffn_down():
    blocks = np.frombuffer((DATA / "smollm2_ffn_down.q4_1").read_bytes(), dtype=np.uint8).reshape(-1, 20)
    levels = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1).astype(np.float64)
    dithered = levels + dither(11, levels.size).reshape(levels.shape)
    return (halves(blocks, 0) * dithered + halves(blocks, 2)).ravel()


def make_tensors():
    made = {
        "gaussian": gaussian(1, WEIGHTS) * DEVIATION,
        "student_t": student_t() * DEVIATION,
        "sparse": sparse() * DEVIATION,
        "uneven_rows": uneven_rows() * DEVIATION,
        "smollm2_embedding": real_embedding(),
        "smollm2_ffn_down": real_ffn_down(),
    }
    return {name: values.astype(np.float32) for name, values in made.items()}


def write_excerpts(model):
    tensors = {tensor.name: tensor for tensor in GGUFReader(model).tensors}
    for name, file, size in ("token_embd", "smollm2_embedding.q8_0", 34), ("blk.14.ffn_down", "smollm2_ffn_down.q4_1", 20):
        data = tensors[name + ".weight"].data.tobytes()
        begin = len(data) // 3 // (size * 48) * (size * 48)
        (DATA / file).write_bytes(data[begin : begin + EXCERPT // 32 * size])


def load_peer():
    folder = pathlib.Path(importlib.util.find_spec("llama_cpp").origin).parent / "lib"
    library = ctypes.CDLL(str(folder / "libggml-base.so"))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [
        ctypes.c_void_p]  # fmt: skip
    return library


def peer_errors(library, x, kind):
    weights, size = GGML_QUANT_SIZES[kind]
    blocks = np.zeros((x.size // weights, size), dtype=np.uint8)
    row = 256 if x.size % 512 else 512
    written = library.ggml_quantize_chunk(int(kind), x.ctypes.data, blocks.ctypes.data, 0, x.size // row, row, None)
    assert written == blocks.size
    error = dequantize(blocks, kind).ravel().astype(np.float64) - x.astype(np.float64)
    return {"rmse": float(np.sqrt(np.mean(error * error))), "max": float(np.abs(error).max())}


def main():
    if len(sys.argv) > 1:
        write_excerpts(sys.argv[1])
    library = load_peer()
    result = {"peer": "llama-cpp-python " + importlib.metadata.version("llama-cpp-python"), "tensors": {}}
    for name, x in make_tensors().items():
        formats = {f: peer_errors(library, x, GGMLQuantizationType[f]) for f in FORMATS}
        checksum = int(x.view(np.uint32).astype(np.uint64).sum())  # of the bits
        result["tensors"][name] = {"weights": x.size, "sum_of_bits": checksum, "formats": formats}
        print(name, x.size, float(x.std()), {f: round(e["rmse"] / float(x.std()), 5) for f, e in formats.items()})
    (DATA / "peer_errors.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
