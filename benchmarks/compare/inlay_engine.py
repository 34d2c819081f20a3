"""inlay through the C API of its shared library (include/inlay.h)."""
import ctypes
import time
from typing import Any

from text import random_tokens


class ModelOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("device", ctypes.c_int32),
        ("device_index", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("batch_rows", ctypes.c_int32),
        ("cpu_isa", ctypes.c_char_p),
        ("callbacks", ctypes.c_void_p * 6),  # progress, log, parallel_for, each with its user data
    ]


class SessionOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("sampling", ctypes.c_void_p),
        ("context_length", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    ]


class DeviceInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("kind", ctypes.c_int32),
        ("index", ctypes.c_int32),
        ("memory_bytes", ctypes.c_uint64),
        ("name", ctypes.c_char * 128),
        ("isa", ctypes.c_char * 32),
    ]


class ModelInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("architecture", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("quantization", ctypes.c_char_p),
        ("parameters", ctypes.c_uint64),
        ("file_bytes", ctypes.c_uint64),
        ("vocab_size", ctypes.c_int32),
    ] + [(f"number_{i}", ctypes.c_int32) for i in range(11)]


def initialised(library: ctypes.CDLL, options: Any, function: str) -> Any:
    getattr(library, function)(ctypes.byref(options), ctypes.c_size_t(ctypes.sizeof(options)))
    return options


class InlayEngine:
    """A session that is always brought back to `depth` evaluated tokens and one that waits.

    Rewinding leaves the last token to be evaluated again, so a session at rest holds depth + 1 tokens: the first
    forward pass of a measurement evaluates the one that waits, and no token is evaluated twice.
    """

    def __init__(self, library: str) -> None:
        self.library = ctypes.CDLL(library)
        self.library.inlay_error_message.restype = ctypes.c_char_p
        self.library.inlay_version_string.restype = ctypes.c_char_p
        self.model, self.session = ctypes.c_void_p(), ctypes.c_void_p()
        self.depth, self.size = 0, 0
        self.tokens: Any = None

    def call(self, name: str, *arguments: Any) -> None:
        error = ctypes.c_void_p()
        if getattr(self.library, name)(*arguments, ctypes.byref(error)) != 0:
            message = self.library.inlay_error_message(error).decode()
            self.library.inlay_error_free(error)
            raise RuntimeError(message)

    def open_model(self, model: str, threads: int, isa: str | None) -> None:
        options = initialised(self.library, ModelOptions(), "inlay_model_options_init")
        options.threads = threads
        options.cpu_isa = isa.encode() if isa else None
        self.call("inlay_model_open", model.encode(), ctypes.byref(options), ctypes.byref(self.model))

    def open_session(self, context: int) -> None:
        options = initialised(self.library, SessionOptions(), "inlay_session_options_init")
        options.context_length = context
        self.call("inlay_session_create", self.model, ctypes.byref(options), ctypes.byref(self.session))

    def vocab_size(self) -> int:
        info = ModelInfo(struct_size=ctypes.sizeof(ModelInfo))
        self.call("inlay_model_get_info", self.model, ctypes.byref(info))
        return info.vocab_size

    def append(self, begin: int, end: int) -> None:
        start = ctypes.byref(self.tokens, begin * 4)
        self.call("inlay_session_prefill", self.session, start, ctypes.c_size_t(end - begin))

    def logits(self) -> None:
        data, size = ctypes.c_void_p(), ctypes.c_size_t()
        self.call("inlay_session_logits", self.session, ctypes.byref(data), ctypes.byref(size))

    # What the other process calls:

    def open(self, model: str, threads: int, context: int, isa: str | None) -> dict[str, Any]:
        self.open_model(model, threads, isa)
        self.open_session(context)
        tokens = random_tokens(context, self.vocab_size())
        self.tokens = (ctypes.c_int32 * context)(*tokens)
        device = DeviceInfo(struct_size=ctypes.sizeof(DeviceInfo))
        self.call("inlay_model_get_device", self.model, ctypes.byref(device))
        version = self.library.inlay_version_string().decode()
        return {"version": version, "features": device.isa.decode(), "variants": [""]}

    def rest(self, variant: str, depth: int) -> None:
        if self.size < depth + 2:  # rewinding means something only if it drops a token
            self.append(self.size, depth + 2)
        self.depth, self.size = depth, depth + 1
        self.call("inlay_session_rewind", self.session, ctypes.c_int32(self.size))

    def prefill(self, variant: str, tokens: int) -> float:
        start = time.perf_counter()
        self.append(self.size, self.depth + tokens)
        seconds = time.perf_counter() - start
        self.call("inlay_session_rewind", self.session, ctypes.c_int32(self.size))
        return seconds

    def decode(self, variant: str, tokens: int) -> float:
        start = time.perf_counter()
        self.logits()
        for position in range(self.size, self.depth + tokens):
            self.append(position, position + 1)
        seconds = time.perf_counter() - start
        self.call("inlay_session_rewind", self.session, ctypes.c_int32(self.size))
        return seconds

    def first_token(self, variant: str, model: str, threads: int, tokens: int, isa: str | None) -> float:
        token = ctypes.c_int32()
        start = time.perf_counter()
        self.open_model(model, threads, isa)
        self.open_session(2 * tokens)
        self.tokens = (ctypes.c_int32 * tokens)(*random_tokens(tokens, self.vocab_size()))
        self.append(0, tokens)
        self.call("inlay_session_step", self.session, ctypes.byref(token))
        return time.perf_counter() - start
