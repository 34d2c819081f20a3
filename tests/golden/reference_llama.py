"""Forward pass of the llama architecture in plain numpy, from a GGUF file: the independent judge of the engine.

Weights are decoded by the PyPI package gguf and kept in float32 (or float64); norms, softmax and RoPE angles are always
computed in float64. Nothing is quantised on the way: activations and the KV cache stay in the chosen type.

    python3 reference_llama.py MODEL.gguf "Once upon a time"      needs numpy, gguf and llama-cpp-python (to tokenize)
"""
import math

import gguf
import numpy as np


def rope_inverse_wavelengths(rotary_size, base, factors=None):
    """Angle per position of each pair, [rotary_size / 2], float64, before any context scaling."""
    angles = base ** (-np.arange(0, rotary_size, 2, dtype=np.float64) / rotary_size)
    return angles if factors is None else angles / factors


def yarn_blend(rotary_size, base, original_context, beta_fast, beta_slow):
    """Share of the extrapolated (unscaled) angle in each pair, [rotary_size / 2] (YaRN paper, section 3.2)."""

    def pair_with_rotations(count):
        return rotary_size * math.log(original_context / (count * 2 * math.pi)) / (2 * math.log(base))

    low = max(0, math.floor(pair_with_rotations(beta_fast)))
    high = min(rotary_size - 1, math.ceil(pair_with_rotations(beta_slow)))
    pairs = np.arange(rotary_size // 2, dtype=np.float64)
    return 1 - np.clip((pairs - low) / max(0.001, high - low), 0, 1)


class Config:
    def __init__(self, fields, embedding_size):
        prefix = "llama."

        def get(key, default=None):
            field = fields.get(prefix + key)
            return default if field is None else field.contents()

        architecture = fields["general.architecture"].contents()
        if architecture != "llama":
            raise ValueError(f"architecture {architecture!r} is not llama")
        self.layers = get("block_count")
        self.heads = get("attention.head_count")
        self.kv_heads = get("attention.head_count_kv", self.heads)
        self.head_size = get("attention.key_length", embedding_size // self.heads)
        self.rotary_size = get("rope.dimension_count", self.head_size)
        self.rope_base = get("rope.freq_base", 10000.0)
        self.epsilon = get("attention.layer_norm_rms_epsilon")
        self.scaling = get("rope.scaling.type", "none")
        self.scaling_factor = get("rope.scaling.factor", 1.0)
        self.original_context = get("rope.scaling.original_context_length", get("context_length"))
        self.attention_factor = get("rope.scaling.attn_factor", 1.0)
        self.beta_fast = get("rope.scaling.yarn_beta_fast", 32.0)
        self.beta_slow = get("rope.scaling.yarn_beta_slow", 1.0)

    def rope(self, factors):
        """Angle per position of each pair, and the factor on the rotated values."""
        angles = rope_inverse_wavelengths(self.rotary_size, self.rope_base, factors)
        if self.scaling == "none" or self.scaling_factor == 0:
            return angles, self.attention_factor
        scaled = angles / self.scaling_factor
        if self.scaling == "linear":
            return scaled, self.attention_factor
        if self.scaling != "yarn":
            raise ValueError(f"rope scaling {self.scaling!r} is not supported")
        blend = yarn_blend(self.rotary_size, self.rope_base, self.original_context, self.beta_fast, self.beta_slow)
        magnitude = self.attention_factor * (1 + 0.1 * math.log(self.scaling_factor))
        return scaled * (1 - blend) + angles * blend, magnitude


class ReferenceLlama:
    def __init__(self, path, dtype=np.float32):
        self.dtype = dtype
        reader = gguf.GGUFReader(path)
        # [rows, columns]: gguf's dequantize returns the file's rows (first dimension innermost) as numpy's last axis.
        self.weights = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(dtype) for t in reader.tensors}
        self.embedding = self.weights["token_embd.weight"]  # [vocab, embedding]
        self.output = self.weights.get("output.weight", self.embedding)
        self.config = Config(reader.fields, self.embedding.shape[1])
        self.angles, self.magnitude = self.config.rope(self.weights.get("rope_freqs.weight"))
        self.reset()

    def reset(self):
        c = self.config
        empty = np.empty((c.kv_heads, 0, c.head_size), self.dtype)
        self.keys = [empty] * c.layers  # each [kv_heads, positions, head_size]
        self.values = [empty] * c.layers
        self.position = 0

    def norm(self, rows, name):
        x = rows.astype(np.float64)
        x /= np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.config.epsilon)
        return (x * self.weights[name]).astype(self.dtype)

    def linear(self, rows, name):
        out = rows @ self.weights[name + ".weight"].T
        bias = self.weights.get(name + ".bias")
        return out if bias is None else out + bias

    def rotate(self, heads):
        """RoPE on neighbouring pairs (2i, 2i + 1) of [heads, rows, head_size], for the rows at self.position onwards."""
        rows = heads.shape[1]
        angle = np.outer(np.arange(self.position, self.position + rows), self.angles)
        cos, sin = np.cos(angle) * self.magnitude, np.sin(angle) * self.magnitude
        out = heads.astype(np.float64)
        even, odd = out[..., 0 : self.config.rotary_size : 2].copy(), out[..., 1 : self.config.rotary_size : 2].copy()
        out[..., 0 : self.config.rotary_size : 2] = even * cos - odd * sin
        out[..., 1 : self.config.rotary_size : 2] = even * sin + odd * cos
        return out.astype(self.dtype)

    def attention(self, rows, layer):
        c, name, count = self.config, f"blk.{layer}.attn_", len(rows)

        def split(x, heads):
            return x.reshape(count, heads, c.head_size).transpose(1, 0, 2)

        query = self.rotate(split(self.linear(rows, name + "q"), c.heads))
        key = self.rotate(split(self.linear(rows, name + "k"), c.kv_heads))
        value = split(self.linear(rows, name + "v"), c.kv_heads)
        self.keys[layer] = keys = np.concatenate([self.keys[layer], key], axis=1)
        self.values[layer] = values = np.concatenate([self.values[layer], value], axis=1)

        group = c.heads // c.kv_heads
        scores = query.astype(np.float64) @ np.repeat(keys, group, axis=0).transpose(0, 2, 1).astype(np.float64)
        scores /= math.sqrt(c.head_size)  # [heads, rows, positions]
        future = np.arange(keys.shape[1]) > (self.position + np.arange(count))[:, None]
        scores[:, future] = -np.inf
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = scores.astype(self.dtype) @ np.repeat(values, group, axis=0)
        return self.linear(mixed.transpose(1, 0, 2).reshape(count, c.heads * c.head_size), name + "output")

    def feed_forward(self, rows, layer):
        name = f"blk.{layer}.ffn_"
        gate = self.linear(rows, name + "gate").astype(np.float64)
        gate = (gate / (1 + np.exp(-gate))).astype(self.dtype)
        return self.linear(gate * self.linear(rows, name + "up"), name + "down")

    def forward(self, tokens, last_only=False):
        """Appends the tokens and returns the logits after each of them (or after the last), [rows, vocab]."""
        x = self.embedding[np.asarray(tokens)]
        for layer in range(self.config.layers):
            x = x + self.attention(self.norm(x, f"blk.{layer}.attn_norm.weight"), layer)
            x = x + self.feed_forward(self.norm(x, f"blk.{layer}.ffn_norm.weight"), layer)
        self.position += len(tokens)
        if last_only:
            x = x[-1:]
        return self.norm(x, "output_norm.weight") @ self.output.T

    def greedy(self, tokens, count):
        """The `count` most likely tokens after `tokens`, one by one, and the gap of the best two logits at each step."""
        self.reset()
        ids, gaps = [], []
        logits = self.forward(tokens, last_only=True)[0]
        while True:
            second, first = np.partition(logits, -2)[-2:]
            ids.append(int(np.argmax(logits)))
            gaps.append(float(first) - float(second))
            if len(ids) == count:
                return ids, gaps
            logits = self.forward([ids[-1]])[0]


def main():
    import sys

    import llama_cpp

    path, prompt = sys.argv[1:]
    tokenizer = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    ids = tokenizer.tokenize(prompt.encode(), add_bos=True, special=True)
    out, _ = ReferenceLlama(path).greedy(ids, 64)
    print(tokenizer.detokenize(out, special=True).decode(errors="replace"))


if __name__ == "__main__":
    main()
