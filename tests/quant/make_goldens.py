#!/usr/bin/env python3
"""Writes tests/data/quant/<format>.bin: blocks of every weight format, then the float32 values that the package `gguf`
(an implementation independent of inlay) decodes from them. The number of blocks follows from the file size.

Usage: make_goldens.py [output folder], with the packages gguf 0.19 and numpy installed.
"""

import pathlib
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# Byte offsets of the half floats in a block: their bits are chosen, all others are arbitrary.
HALVES = {
    "F16": [0],
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}
BLOCKS = {"F32": 512, "F16": 1024, "BF16": 1024}  # random ones; 64 for blocks of 32, 16 for blocks of 256

# One, the smallest and largest subnormals, the smallest normal, the largest half, both signs, zeros.
EXTREME_HALVES = [0x3C00, 0x0001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x8001, 0xBC00, 0x0000, 0x8000]
EXTREME_BODIES = [0x00, 0xFF, 0xAA, 0x55, 0x0F, 0xF0]


def finite_halves(random, count):
    bits = random.integers(0, 0x10000, 4 * count + 16, dtype=np.uint32).astype(np.uint16)
    return bits[(bits & 0x7C00) != 0x7C00][:count]


def set_half(blocks, offset, bits):
    blocks[:, offset] = bits & 0xFF
    blocks[:, offset + 1] = bits >> 8


def random_blocks(random, name, weights, size):
    count = BLOCKS.get(name, 64 if weights == 32 else 16)
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in HALVES.get(name, []):
        set_half(blocks, offset, finite_halves(random, count))
    if name == "BF16":
        blocks[:, 1] &= 0xBF  # exponents below 128: finite
    if name == "F32":
        blocks[:, 3] &= 0xBF
    return blocks


def extreme_blocks(name, size):
    blocks = []
    for body in EXTREME_BODIES:
        for index, bits in enumerate(EXTREME_HALVES):
            if body not in (0x00, 0xFF) and index > 1:
                continue
            block = np.full((1, size), body, dtype=np.uint8)
            for position, offset in enumerate(HALVES[name]):
                shifted = EXTREME_HALVES[(index + 3 * position) % len(EXTREME_HALVES)]
                set_half(block, offset, np.array([shifted], dtype=np.uint16))
            blocks.append(block)
    return np.concatenate(blocks)


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "data" / "quant"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(20240701)
    names = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
    for name in names:
        kind = GGMLQuantizationType[name]
        weights, size = GGML_QUANT_SIZES[kind]
        blocks = random_blocks(random, name, weights, size)
        if name in HALVES:
            blocks = np.concatenate([blocks, extreme_blocks(name, size)])
        # F32 and F16 are looked up by their dtype, the others by their bytes.
        plain = {"F32": np.float32, "F16": np.float16}.get(name)
        source = blocks if plain is None else blocks.view(plain)
        values = np.ascontiguousarray(dequantize(source, kind), dtype="<f4")
        assert values.size == blocks.shape[0] * weights and np.isfinite(values).all()
        (folder / f"{name}.bin").write_bytes(blocks.tobytes() + values.tobytes())
        print(f"{name}: {blocks.shape[0]} blocks, {values.size} weights")


if __name__ == "__main__":
    main()
