#!/usr/bin/env python3
"""Makes tests/data/vocab/goldens*: ids that llama.cpp gives to a fixed set of texts.

Needs the PyPI packages llama-cpp-python and gguf, and the unpacked vocabularies (build/<preset>/tests/vocab):

    make_goldens.py build/dev/tests/vocab tests/data/vocab

With --vocab-of it instead writes the metadata of a model, without its tensors:

    make_goldens.py --vocab-of SmolLM2-135M-Instruct.Q4_1.gguf ggml-vocab-smollm.gguf
"""
import random
import sys
import tempfile
from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter

SEPARATOR = "\n__ggml_vocab_test__\n"
VOCABULARIES = ["llama-spm", "phi-3", "llama-bpe", "qwen2", "gpt-2", "smollm"]
N_RANDOM = 200

FIXED = [
    "\n", "\r\n\r\n", " \t ", "a  b   c    d", "   leading", "trailing   ", "\u00a0\u2003\u3000 x\u2028y\u0085z",
    "x\u180ey", "don't DON'T we'Ll 'tis ''s ' s", "3.14159 1,000,000 12345678 ½²Ⅷ٣१①", "a1b22c333d4444",
    "\u0000\u0001\u0002\u0004 \u001b[0m \u007f\u0080\u009f", "\ufeffbyte order mark", "e\u0301 ǅ ʰ ﬁ \u2581 ſ",
    "🤦🏽‍♀️👩‍👩‍👧‍👦🇩🇪", "\U0001e030\U00011f04\U0001d2c5\U00031351 newer than Unicode 14",
    "int main() {\n\treturn 0;  // done\n}\n\n\n", '{"key": [1, 2, {"a": null}]}', "http://a.b/c?d=e&f=%20#g",
    "不知道这是什么。日本語のテキスト、한국어 문장.", "สวัสดีชาวโลก नमस्ते दुनिया שלום עולם مرحبا بالعالم",
    "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n", "<s>[INST] Hi [/INST] Hello <s>  again",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<|user|>\n Hello <|end|>\n \t<|assistant|>\n", "a <|endoftext|> b<|endoftext|>", "<unk><pad>[PAD32011] [PAD151646]",
    "<|im_start|", "<|<|im_start|>|>", "<repo_name>x<file_sep>", "<0x0A> <0x41>", "a" * 300, "ab " * 100, "=" * 200,
    "\n" * 40, " " * 100,
]


def random_text(rnd):
    ranges = [
        (0x41, 0x7A), (0x20, 0x40), (0x30, 0x39), (0x01, 0x20), (0x7F, 0xA0), (0xC0, 0x24F), (0x370, 0x3FF),
        (0x400, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0xEFF), (0x1780, 0x17FF), (0x300, 0x36F),
        (0x2000, 0x20CF), (0x2150, 0x218B), (0x2600, 0x27BF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
        (0xFF00, 0xFFEF), (0x10000, 0x1FFFF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF),
    ]
    words = ["the", " and", "ing ", " Hello", "'s", "'LL", "  ", "\n\n", "\r\n", "1234", "return ", "https://", "don't"]
    specials = ["<s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<|user|>"]
    chosen = rnd.sample(ranges, rnd.randint(1, 3))
    parts = []
    for _ in range(rnd.randint(2, 30)):
        kind = rnd.random()
        if kind < 0.2:
            parts.append(rnd.choice(words))
        elif kind < 0.25:
            parts.append(rnd.choice(specials))
        else:
            parts.append(chr(rnd.randint(*rnd.choice(chosen))))
    return "".join(parts)


def texts():
    rnd = random.Random(20240607)
    return FIXED + [random_text(rnd) for _ in range(N_RANDOM)]


def copy_metadata(source, target, changes):
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind = field.types[0]
        element = field.types[1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(key, changes.get(key, field.contents()), kind, element)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def write_goldens(vocabulary, target):
    from llama_cpp import Llama

    model = Llama(model_path=str(vocabulary), vocab_only=True, verbose=False)
    lines = []
    for text in texts():
        plain, parsed = (
            " ".join(map(str, model.tokenize(text.encode(), add_bos=False, special=special)))
            for special in (False, True)
        )
        lines.append(plain if plain == parsed else f"{plain} | {parsed}")
    target.write_text("\n".join(lines) + "\n")


def main():
    if sys.argv[1] == "--vocab-of":
        copy_metadata(sys.argv[2], sys.argv[3], {})
        return
    vocabularies, data = Path(sys.argv[1]), Path(sys.argv[2])
    (data / "goldens.inp").write_bytes(SEPARATOR.join(texts()).encode())
    for name in VOCABULARIES:
        write_goldens(vocabularies / f"ggml-vocab-{name}.gguf", data / f"goldens-{name}.out")
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / "default.gguf"
        copy_metadata(vocabularies / "ggml-vocab-gpt-2.gguf", changed, {"tokenizer.ggml.pre": "default"})
        write_goldens(changed, data / "goldens-gpt-2-default.out")


if __name__ == "__main__":
    main()
