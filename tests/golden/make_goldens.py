"""Makes tests/data/golden/smollm2.json: prompt ids by llama.cpp, greedy continuations by the numpy reference.

    python3 make_goldens.py MODEL.gguf [OUTPUT.json]              needs numpy, gguf and llama-cpp-python

Per prompt the file holds
  text, parse_special   what was tokenized; llama.cpp ran with add_special = true (its own rule for BOS) and this flag
  prompt_ids            llama.cpp's ids
  start_ids             what the model is fed: prompt_ids, or the BOS id alone where the prompt gives no ids
  continuation          the 64 most likely ids one after the other; decoding goes on behind an end token
  gaps                  at each step, best minus second-best logit of the reference
  first_end             index in continuation of the first end-of-generation token, or null
  llama_cpp_differs     steps at which llama.cpp, fed the same tokens, prefers another one
To check an engine, feed start_ids + continuation and compare its argmax at each step whose gap exceeds a margin.
"""
import hashlib
import importlib.metadata
import json
import pathlib
import sys

import llama_cpp
import numpy as np

from reference_llama import ReferenceLlama

HERE = pathlib.Path(__file__).parent
STEPS = 64

CHAT = """<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
<|im_start|>user
Why is the sky blue? Answer in two sentences.<|im_end|>
<|im_start|>assistant
"""

CODE = '''def fibonacci(n: int) -> list[int]:
    """Return the first n Fibonacci numbers."""
    a, b = 0, 1
    result = []
    for _ in range(n):
'''

PROMPTS = [  # name, text, parse_special
    ("english", "Once upon a time, in a small village by the sea, there lived", False),
    ("question", "Q: What is the capital of France?\nA:", False),
    ("code", CODE, False),
    ("chinese", "北京是中国的首都，也是全国的政治、文化中心。", False),
    ("arabic", "القاهرة هي عاصمة جمهورية مصر العربية", False),
    ("hindi", "भारत की राजधानी नई दिल्ली है और", False),
    ("cyrillic", "Москва — столица России, город федерального значения,", False),
    (
        "emoji",
        "I ❤\ufe0f my family: \U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 and the flag "
        "\U0001f3f3\ufe0f\u200d\U0001f308! \U0001f44b\U0001f3fd e\u0301",
        False,
    ),
    ("digits_and_whitespace", "  1234567890  3.14159\t\t2^10 = 1024\r\n\n\n   007 ٣٤ ½ Ⅷ x1y2\u00a0z\u3000 \n 1, 2, 3, 4, ", False),
    ("chat", CHAT, True),
    ("specials_as_text", "The markers <|im_start|> and <|im_end|> are plain text here, so is <|endoftext|>.", False),
    ("empty", "", False),
    ("long", (HERE / "long_prompt.txt").read_text(encoding="utf-8"), False),
]


def end_tokens(model):
    vocab = llama_cpp.llama_model_get_vocab(model._model.model)
    return [i for i in range(model.n_vocab()) if llama_cpp.llama_vocab_is_eog(vocab, i)]


def differing_steps(model, start, continuation):
    model.reset()
    model.eval(start + continuation[:-1])
    best = np.argmax(model.scores[len(start) - 1 : model.n_tokens], axis=1)
    return [step for step, (ours, theirs) in enumerate(zip(continuation, best, strict=True)) if ours != theirs]


def make_case(model, reference, ends, name, text, parse_special):
    ids = model.tokenize(text.encode(), add_bos=True, special=parse_special)
    start = ids or [model.token_bos()]
    continuation, gaps = reference.greedy(start, STEPS)
    differs = differing_steps(model, start, continuation)
    print(f"{name}: {len(ids)} ids, smallest gap {min(gaps):.4f}, llama.cpp differs at gaps {[round(gaps[s], 3) for s in differs]}")
    print(f"    {model.detokenize(continuation, special=True)!r}", flush=True)
    return {
        "name": name,
        "text": text,
        "parse_special": parse_special,
        "prompt_ids": ids,
        "start_ids": start,
        "continuation": continuation,
        "gaps": [round(gap, 4) for gap in gaps],
        "first_end": next((step for step, token in enumerate(continuation) if token in ends), None),
        "llama_cpp_differs": differs,
    }


def dump(value, indent=0):
    """JSON with one line per scalar or list of scalars."""
    pad = " " * indent
    if isinstance(value, dict):
        lines = ",\n".join(f"{pad} {json.dumps(key)}: {dump(item, indent + 1)}" for key, item in value.items())
        return "{\n" + lines + f"\n{pad}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"{pad} {dump(item, indent + 1)}" for item in value) + f"\n{pad}]"
    return json.dumps(value, separators=(",", ":"))


def main():
    path = sys.argv[1]
    output = sys.argv[2] if len(sys.argv) > 2 else HERE.parent / "data/golden/smollm2.json"
    model = llama_cpp.Llama(path, n_ctx=1024, logits_all=True, verbose=False)
    reference = ReferenceLlama(path)
    ends = end_tokens(model)
    document = {
        "about": "Made by tests/golden/make_goldens.py, which describes the fields.",
        "model": {
            "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
            "sha256": hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest(),
        },
        "versions": {name: importlib.metadata.version(name) for name in ("llama-cpp-python", "gguf", "numpy")},
        "tokenize_flags": "llama_tokenize(add_special = true, parse_special = as given per prompt)",
        "add_bos": bool(model._model.add_bos_token()),
        "bos_id": model.token_bos(),
        "eos_id": model.token_eos(),
        "end_ids": ends,
        "vocab_size": model.n_vocab(),
        "prompts": [make_case(model, reference, ends, *prompt) for prompt in PROMPTS],
    }
    pathlib.Path(output).write_text(dump(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
