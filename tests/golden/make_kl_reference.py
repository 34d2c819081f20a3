"""Makes tests/data/golden/kl_reference.bin: the numpy reference's best 16 tokens after each token of kl_text.txt.

    python3 make_kl_reference.py MODEL.gguf [OUTPUT.bin]          needs numpy, gguf and llama-cpp-python

All values are little-endian and packed without gaps:
  char     magic[8]                     "INLAYKL1"
  uint32   positions, top, vocab_size, 0
  float32  log_probs[positions][top]    natural logarithms, falling; over the whole vocabulary, so they sum to less than 1
  uint16   token_ids[positions][top]
  uint16   text_ids[positions]          llama.cpp's ids of the text, add_special = true, parse_special = false
Row i belongs to the token that follows text_ids[0..i]. The model adds no BOS, so text_ids[0] is the text's own first token.
"""
import pathlib
import struct
import sys

import llama_cpp
import numpy as np

from reference_llama import ReferenceLlama

HERE = pathlib.Path(__file__).parent
TEXT = HERE / "kl_text.txt"
TOP = 16


def log_softmax(logits):
    """Of the last axis, in float64."""
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def tokenize_text(path, text=TEXT):
    tokenizer = llama_cpp.Llama(path, n_ctx=32, vocab_only=True, verbose=False)
    return tokenizer.tokenize(text.read_bytes(), add_bos=True, special=False)


def main():
    path = sys.argv[1]
    output = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else HERE.parent / "data/golden/kl_reference.bin"
    ids = tokenize_text(path)
    log_probs = log_softmax(ReferenceLlama(path).forward(ids))  # [positions, vocab]
    top = np.argsort(-log_probs, axis=1, kind="stable")[:, :TOP]
    best = np.take_along_axis(log_probs, top, axis=1)
    assert log_probs.shape[1] <= 65536, "token ids must fit uint16"
    output.write_bytes(
        b"INLAYKL1"
        + struct.pack("<4I", len(ids), TOP, log_probs.shape[1], 0)
        + best.astype("<f4").tobytes()
        + top.astype("<u2").tobytes()
        + np.asarray(ids).astype("<u2").tobytes()
    )
    print(f"{len(ids)} positions, {output.stat().st_size} bytes; the best {TOP} hold {np.exp(best).sum(axis=1).mean():.3f} of the probability")


if __name__ == "__main__":
    main()
