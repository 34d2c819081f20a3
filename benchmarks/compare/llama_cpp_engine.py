"""llama.cpp through the low-level functions of llama-cpp-python."""
import ctypes
import time
from typing import Any

import llama_cpp
from text import random_tokens

N_BATCH, N_UBATCH = 2048, 512
FLASH_ATTENTION = {
    "flash attention": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "no flash attention": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


@llama_cpp.llama_log_callback
def ignore_log(_level: int, _text: bytes, _user_data: Any) -> None:
    pass


def load_model(path: str) -> Any:
    # Defaults: memory-mapped, weights repacked where it helps.
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise RuntimeError(f"{path}: llama.cpp cannot load it")
    return model


def vocab_size(model: Any) -> int:
    return llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))


class Sequence:
    """A context with one sequence, which is always brought back to `depth` evaluated tokens."""

    def __init__(self, model: Any, threads: int, context: int, flash_attention: int) -> None:
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = (context + 255) // 256 * 256
        parameters.n_batch, parameters.n_ubatch = N_BATCH, N_UBATCH
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.flash_attn_type = flash_attention
        self.context = llama_cpp.llama_init_from_model(model, parameters)
        if not self.context:
            raise RuntimeError("llama.cpp cannot make a context")
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.tokens = (llama_cpp.llama_token * context)(*random_tokens(context, vocab_size(model)))
        self.depth = 0

    def evaluate(self, begin: int, end: int) -> None:
        """Logits of the last token only, which is the default of a batch of this kind."""
        for first in range(begin, end, N_BATCH):
            count = min(N_BATCH, end - first)
            tokens = ctypes.cast(ctypes.byref(self.tokens, first * 4), ctypes.POINTER(llama_cpp.llama_token))
            status = llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(tokens, count))
            if status != 0:
                raise RuntimeError(f"llama_decode: status {status}")

    def wait(self) -> None:
        llama_cpp.llama_synchronize(self.context)

    def drop_after(self, depth: int) -> None:
        if not llama_cpp.llama_memory_seq_rm(self.memory, 0, depth, -1):
            raise RuntimeError("llama_memory_seq_rm: failed")

    def rest(self, depth: int) -> None:
        if self.depth < depth:
            self.evaluate(self.depth, depth)
            self.wait()
        self.depth = depth
        self.drop_after(depth)

    def prefill(self, tokens: int) -> float:
        start = time.perf_counter()
        self.evaluate(self.depth, self.depth + tokens)
        self.wait()
        seconds = time.perf_counter() - start
        self.drop_after(self.depth)
        return seconds

    def decode(self, tokens: int) -> float:
        start = time.perf_counter()
        for position in range(self.depth, self.depth + tokens):
            self.evaluate(position, position + 1)
            self.wait()
        seconds = time.perf_counter() - start
        self.drop_after(self.depth)
        return seconds


class LlamaCppEngine:
    def __init__(self) -> None:
        llama_cpp.llama_log_set(ignore_log, ctypes.c_void_p())
        llama_cpp.llama_backend_init()
        self.sequences: dict[str, Sequence] = {}

    # What the other process calls:

    def open(self, model: str, threads: int, context: int, isa: str | None) -> dict[str, Any]:
        loaded = load_model(model)
        for variant, flash_attention in FLASH_ATTENTION.items():
            self.sequences[variant] = Sequence(loaded, threads, context, flash_attention)
        features = llama_cpp.llama_print_system_info().decode().strip(" |")
        return {"version": llama_cpp.__version__, "features": features, "variants": list(FLASH_ATTENTION)}

    def rest(self, variant: str, depth: int) -> None:
        self.sequences[variant].rest(depth)

    def prefill(self, variant: str, tokens: int) -> float:
        return self.sequences[variant].prefill(tokens)

    def decode(self, variant: str, tokens: int) -> float:
        return self.sequences[variant].decode(tokens)

    def first_token(self, variant: str, model: str, threads: int, tokens: int, isa: str | None) -> float:
        sampler = llama_cpp.llama_sampler_init_greedy()
        start = time.perf_counter()
        sequence = Sequence(load_model(model), threads, 2 * tokens, FLASH_ATTENTION[variant])
        sequence.evaluate(0, tokens)
        llama_cpp.llama_sampler_sample(sampler, sequence.context, -1)
        return time.perf_counter() - start
