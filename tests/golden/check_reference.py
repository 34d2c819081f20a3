"""Checks the numpy reference itself on a real model, against other code than its own; exits with 1 where it fails.

    python3 check_reference.py MODEL.gguf [GOLDENS.json]          needs numpy, gguf and llama-cpp-python

1. Every Q4_1 and Q8_0 tensor, decoded a second time from its raw bytes by the few lines below, has the same values.
2. The float32 pass agrees with the same pass in float64.
3. llama.cpp's logits correlate with the reference's on every golden prompt.
4. Feeding tokens one by one gives what feeding them at once gives.
"""
import collections
import json
import pathlib
import sys

import gguf
import llama_cpp
import numpy as np

from make_kl_reference import log_softmax
from reference_llama import ReferenceLlama

failures = []


def check(passed, what):
    print(("ok    " if passed else "FAILED ") + what, flush=True)
    if not passed:
        failures.append(what)


def decode_q4_1(data):
    """Blocks of 32: half d, half m, 16 bytes of nibbles; value = d * q + m, low nibbles first."""
    blocks = data.reshape(-1, 20)
    d, m = (blocks[:, i : i + 2].copy().view("<f2").astype(np.float32) for i in (0, 2))
    quants = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    return d * quants.astype(np.float32) + m


def decode_q8_0(data):
    """Blocks of 32: half d, 32 signed bytes; value = d * q."""
    blocks = data.reshape(-1, 34)
    return blocks[:, :2].copy().view("<f2").astype(np.float32) * blocks[:, 2:].view(np.int8).astype(np.float32)


def check_weights(path, reference):
    reader = gguf.GGUFReader(path)
    types = collections.Counter(tensor.tensor_type.name for tensor in reader.tensors)
    print("tensor types:", dict(types), "token_embd:", next(t for t in reader.tensors if t.name == "token_embd.weight").tensor_type.name)
    decoders = {"Q4_1": decode_q4_1, "Q8_0": decode_q8_0, "F32": lambda data: data}
    for name, decode in decoders.items():
        chosen = [tensor for tensor in reader.tensors if tensor.tensor_type.name == name]
        same = [np.array_equal(decode(t.data).ravel(), reference.weights[t.name].ravel()) for t in chosen]
        shapes = [reference.weights[t.name].shape == tuple(reversed(t.shape.tolist())) for t in chosen]
        finite = [bool(np.isfinite(reference.weights[t.name]).all()) for t in chosen]
        check(all(same) and all(shapes) and all(finite), f"{len(chosen)} {name} tensors decode to the same finite values")


def forward(model, tokens):
    model.reset()
    return model.forward(tokens)


def check_precision(reference, exact, prompt):
    tokens = prompt["start_ids"] + prompt["continuation"][:-1]
    first = len(prompt["start_ids"]) - 1
    mine, judge = forward(reference, tokens), forward(exact, tokens)
    log_mine, log_judge = log_softmax(mine), log_softmax(judge)
    divergence = np.sum(np.exp(log_judge) * (log_judge - log_mine), axis=1).max()
    same = np.array_equal(judge[first:].argmax(axis=1), prompt["continuation"])
    check(
        same and divergence < 1e-8,
        f"{prompt['name']}: float64 picks the same tokens; greatest logit difference {np.abs(mine - judge).max():.1e}, KL {divergence:.1e}",
    )


def check_llama_cpp(reference, model, prompt):
    tokens = prompt["start_ids"] + prompt["continuation"][:-1]
    mine = forward(reference, tokens)
    model.reset()
    model.eval(tokens)
    theirs = model.scores[: len(tokens)]
    correlation = min(np.corrcoef(a, b)[0, 1] for a, b in zip(mine, theirs, strict=True))
    best = np.partition(mine, -2, axis=1)[:, -2:]
    wrong = mine.argmax(axis=1) != theirs.argmax(axis=1)
    gap = float((best[:, 1] - best[:, 0])[wrong].max(initial=0))
    check(
        correlation > 0.99 and gap < 1.0,
        f"{prompt['name']}: llama.cpp, {len(tokens)} positions: lowest correlation {correlation:.5f}, mean difference "
        f"{np.abs(mine - theirs).mean():.3f}, other top token at {wrong.sum()}, greatest gap there {gap:.3f}",
    )


def check_steps(reference, prompt):
    tokens = (prompt["start_ids"] + prompt["continuation"])[:40]
    at_once = forward(reference, tokens)
    reference.reset()
    one_by_one = np.concatenate([reference.forward([token]) for token in tokens])
    difference = np.abs(at_once - one_by_one).max()
    check(difference < 1e-3, f"{prompt['name']}: one by one and at once differ by {difference:.1e}")


def main():
    path = sys.argv[1]
    default = pathlib.Path(__file__).parent.parent / "data/golden/smollm2.json"
    goldens = json.loads(pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else default).read_text(encoding="utf-8"))
    reference, exact = ReferenceLlama(path), ReferenceLlama(path, np.float64)
    model = llama_cpp.Llama(path, n_ctx=1024, logits_all=True, verbose=False)
    check_weights(path, reference)
    check_steps(reference, goldens["prompts"][0])
    for prompt in goldens["prompts"]:
        check_precision(reference, exact, prompt)
        check_llama_cpp(reference, model, prompt)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
