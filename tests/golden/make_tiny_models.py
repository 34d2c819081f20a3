"""Makes three small random llama models with the features that the real test model lacks, and their expected logits.

    python3 make_tiny_models.py [OUTPUT_FOLDER]                   needs numpy, gguf and llama-cpp-python

tests/data/golden/tiny_*.gguf are whole F32 files with a byte-level vocabulary; tiny.json holds, for each, 48 token ids and
the reference's logits after some of them. The reference is compared with llama.cpp (float32 KV cache) before anything is
written, and the two must agree to within 1e-4 of logits that are about 1 in size.
"""
import json
import pathlib
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

from reference_llama import ReferenceLlama

LAYERS, EMBEDDING, FEED_FORWARD = 2, 32, 48
# With 8 pairs and this base, YaRN leaves three pairs as they are and blends the others: both of its bounds matter.
ORIGINAL_CONTEXT, SCALING_FACTOR, ROPE_BASE = 1024, 4, 100.0
ROWS = [0, 1, 20, 47]
POSITIONS = 48
MERGES = ["t h", "th e", "\u0120 the", "i n"]

VARIANTS = {
    "tiny_linear_bias": {"heads": 4, "kv_heads": 4, "head_size": 8, "scaling": "linear", "biases": True, "own_head": True},
    "tiny_yarn_tied": {"heads": 2, "kv_heads": 1, "head_size": 16, "scaling": "yarn", "biases": False, "own_head": False},
    "tiny_freqs_wide": {"heads": 6, "kv_heads": 2, "head_size": 16, "scaling": None, "biases": False, "own_head": True},
}


def byte_characters():
    """GPT-2's printable stand-in for each byte."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = iter(range(0x100, 0x200))
    return [chr(byte) if byte in kept else chr(next(moved)) for byte in range(256)]


def add_vocabulary(writer):
    tokens = ["<bos>", "<eos>", *byte_characters(), *(merge.replace(" ", "") for merge in MERGES)]
    types = [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (len(tokens) - 2)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    return len(tokens)


def add_scaling(writer, kind):
    if kind is None:
        return
    writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
    writer.add_rope_scaling_factor(float(SCALING_FACTOR))
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(ORIGINAL_CONTEXT)


def tensors(variant, vocab_size, random):
    """Names, shapes [rows, columns] and a spread that keeps every activation near 1."""
    query, key = variant["heads"] * variant["head_size"], variant["kv_heads"] * variant["head_size"]
    shapes = {"token_embd": (vocab_size, EMBEDDING)}
    if variant["own_head"]:
        shapes["output"] = (vocab_size, EMBEDDING)
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        shapes |= {name + "attn_q": (query, EMBEDDING), name + "attn_k": (key, EMBEDDING), name + "attn_v": (key, EMBEDDING)}
        shapes |= {name + "attn_output": (EMBEDDING, query), name + "ffn_gate": (FEED_FORWARD, EMBEDDING)}
        shapes |= {name + "ffn_up": (FEED_FORWARD, EMBEDDING), name + "ffn_down": (EMBEDDING, FEED_FORWARD)}
    for name, (rows, columns) in shapes.items():
        yield name + ".weight", random.normal(0, 1.5 / np.sqrt(columns), (rows, columns))
        if variant["biases"] and name.startswith("blk."):
            yield name + ".bias", random.normal(0, 0.3, rows)
    for name in ["output_norm", *(f"blk.{i}.{part}_norm" for i in range(LAYERS) for part in ("attn", "ffn"))]:
        yield name + ".weight", random.uniform(0.5, 1.5, EMBEDDING)
    if variant["scaling"] is None:
        yield "rope_freqs.weight", np.linspace(1, 8, variant["head_size"] // 2)


def write_model(path, variant, random):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_block_count(LAYERS)
    writer.add_context_length(ORIGINAL_CONTEXT * SCALING_FACTOR)
    writer.add_embedding_length(EMBEDDING)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(variant["heads"])
    writer.add_head_count_kv(variant["kv_heads"])
    writer.add_key_length(variant["head_size"])
    writer.add_value_length(variant["head_size"])
    writer.add_rope_dimension_count(variant["head_size"])
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(1e-5)
    add_scaling(writer, variant["scaling"])
    vocab_size = add_vocabulary(writer)
    writer.add_vocab_size(vocab_size)
    for name, values in tensors(variant, vocab_size, random):
        writer.add_tensor(name, np.ascontiguousarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return vocab_size


def llama_cpp_logits(path, ids):
    f32 = llama_cpp.GGML_TYPE_F32
    model = llama_cpp.Llama(str(path), n_ctx=256, type_k=f32, type_v=f32, logits_all=True, verbose=False)
    model.eval(ids)
    return model.scores[: len(ids)]


def make(path, variant, random):
    vocab_size = write_model(path, variant, random)
    ids = random.integers(2, vocab_size, POSITIONS).tolist()
    logits = ReferenceLlama(path).forward(ids)
    exact = ReferenceLlama(path, np.float64).forward(ids)
    judged = llama_cpp_logits(path, ids)
    difference = np.abs(logits - judged).max()
    print(
        f"{path.name}: {path.stat().st_size} bytes, logits spread {logits.std():.2f}, greatest difference from float64 "
        f"{np.abs(logits - exact).max():.1e}, from llama.cpp {difference:.1e}"
    )
    if difference > 1e-4:
        raise SystemExit("the reference and llama.cpp disagree")
    expected = {str(row): [float(f"{value:.7g}") for value in logits[row]] for row in ROWS}
    return {"file": path.name, "tokens": ids, "logits_after": expected}


def main():
    default = pathlib.Path(__file__).parent.parent / "data/golden"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    random = np.random.default_rng(20)
    with tempfile.TemporaryDirectory() as temporary:
        paths = {name: pathlib.Path(temporary) / f"{name}.gguf" for name in VARIANTS}
        cases = [make(paths[name], variant, random) for name, variant in VARIANTS.items()]
        for path in paths.values():
            (folder / path.name).write_bytes(path.read_bytes())
    lines = ",\n".join("  " + json.dumps(case, separators=(",", ":")) for case in cases)
    about = "Made by tests/golden/make_tiny_models.py. logits_after: index of a token -> the logits after it, by the numpy reference."
    (folder / "tiny.json").write_text('{\n "about": ' + json.dumps(about) + ',\n "models": [\n' + lines + "\n ]\n}\n")


if __name__ == "__main__":
    main()
