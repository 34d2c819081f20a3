"""inlay for Python: GGUF in, tokens out, through ctypes and the C API of the shared library.

One file, no dependencies, Python 3.9 or newer: copy it into your project.

    import inlay

    with inlay.Model("model.gguf", threads=4) as model, model.session(temperature=0.8, seed=1) as session:
        for piece in session.generate("The capital of France is", max_tokens=64):
            print(piece, end="", flush=True)

The library is looked for in this order: what load() is told, the path in the environment variable INLAY_LIBRARY, and
libinlay.so where the loader looks. inlay.h is the manual of what is called here. Options that are not given have the
library's defaults.

Failures are InlayError, with a status and a message that names the thing. Threads: a model may be used by any threads
at the same time; a session by one at a time, except Session.cancel. Python's lock is free while a call runs.
Lifetime: a session keeps its model alive. What is not closed is freed with its last reference, or when Python ends.
"""
from __future__ import annotations

import array
import codecs
import ctypes
import ctypes.util
import enum
import functools
import os
import weakref
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypedDict,
    TypeVar,
    Union,
)

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self, Unpack

ABI_VERSION = 1

T = TypeVar("T")
Path = Union[str, "os.PathLike[str]"]
Prompt = Union[str, Sequence[int]]


class Status(enum.IntEnum):
    """Why a call failed. A newer library may have more of them."""

    OK = 0
    INVALID_ARGUMENT = 1
    NOT_FOUND = 2
    IO_ERROR = 3
    INVALID_MODEL = 4
    UNSUPPORTED = 5
    OUT_OF_MEMORY = 6
    CONTEXT_FULL = 7
    CANCELLED = 8
    DEVICE_ERROR = 9
    INTERNAL = 10
    BUFFER_TOO_SMALL = 11
    INVALID_STATE = 12


class Flow(enum.IntEnum):
    """What a callback wants next."""

    CONTINUE = 0
    STOP = 1


class DeviceKind(enum.IntEnum):
    CPU = 0
    CUDA = 1


class KvFormat(enum.IntEnum):
    """How keys and values of past tokens are kept."""

    F16 = 0
    Q8_0 = 1


class WeightLayout(enum.IntEnum):
    """Where the CPU's weights are: in memory in the kernels' order, or in the mapped file."""

    REPACKED = 0
    AS_IN_FILE = 1


class FinishReason(enum.IntEnum):
    END_OF_GENERATION = 0
    MAX_TOKENS = 1
    CONTEXT_FULL = 2
    CANCELLED = 4


_ADD_SPECIAL, _PARSE_SPECIAL, _RENDER_SPECIAL = 1, 2, 4


class InlayError(Exception):
    """A call of the library that failed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status  # a Status, or a number that a newer library has added
        self.message = message


class ModelOptions(TypedDict, total=False):
    """Keyword arguments of Model and Library.estimate."""

    device: DeviceKind
    device_index: int
    threads: int  # CPU threads of a forward pass; 0: one per core
    batch_rows: int  # most tokens of one forward pass
    cpu_isa: str  # "generic", "avx2", "avx512", "amx" or "", the best
    kv_format: KvFormat
    weight_layout: WeightLayout
    progress: Callable[[float], Optional[Flow]]  # of opening, from 0 to 1; Flow.STOP or an exception ends it
    log: Callable[[int, str], None]  # level and message; from any thread that is inside a call on the model


class SamplingOptions(TypedDict, total=False):
    """Keyword arguments of Model.session and Session.set_sampling. Without any the choice is greedy."""

    seed: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    penalty_window: int


@dataclass(frozen=True)
class DeviceInfo:
    kind: int  # a DeviceKind
    index: int
    memory_bytes: int
    name: str
    isa: str


@dataclass(frozen=True)
class MemoryEstimate:
    weight_bytes: int
    activation_bytes: int
    kv_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.activation_bytes + self.kv_bytes


@dataclass(frozen=True)
class ModelInfo:
    architecture: str
    name: str
    quantization: str
    parameters: int
    file_bytes: int
    vocab_size: int
    context_length: int
    n_layers: int
    embedding_length: int
    feed_forward_length: int
    n_heads: int
    n_kv_heads: int
    head_size: int
    bos_token: int  # -1: none
    eos_token: int  # -1: none
    threads: int


# ---- The C API as inlay.h declares it ------------------------------------------------------------------------------

_float, _i32, _u32, _u64 = ctypes.c_float, ctypes.c_int32, ctypes.c_uint32, ctypes.c_uint64
_size, _text, _pointer = ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p
_ProgressFunction = ctypes.CFUNCTYPE(_i32, _pointer, _float)
_LogFunction = ctypes.CFUNCTYPE(None, _pointer, _i32, _pointer, _size)


class _Int32(ctypes.c_int32):
    """An argument that is refused where ctypes would cut off what does not fit."""

    @classmethod
    def from_param(cls, value: Any) -> Any:
        if not -(2**31) <= value < 2**31:
            raise OverflowError(f"{value} does not fit into 32 bits")
        return _i32(value)


def _struct(struct_name: str, /, **members: Any) -> Type[ctypes.Structure]:
    return type(struct_name, (ctypes.Structure,), {"_fields_": [("struct_size", _size), *members.items()]})


_DeviceInfo = _struct(
    "_DeviceInfo", kind=_i32, index=_i32, memory_bytes=_u64, name=ctypes.c_char * 128, isa=ctypes.c_char * 32
)
_ModelOptions = _struct(
    "_ModelOptions", device=_i32, device_index=_i32, threads=_i32, batch_rows=_i32, cpu_isa=_text,
    progress=_ProgressFunction, progress_user_data=_pointer, log=_LogFunction, log_user_data=_pointer,
    parallel_for=_pointer, parallel_for_user_data=_pointer, kv_format=_i32, weight_layout=_i32,
)  # fmt: skip
_MemoryEstimate = _struct("_MemoryEstimate", weight_bytes=_u64, activation_bytes=_u64, kv_bytes=_u64)
_ModelInfo = _struct(
    "_ModelInfo", architecture=_text, name=_text, quantization=_text, parameters=_u64, file_bytes=_u64,
    vocab_size=_i32, context_length=_i32, n_layers=_i32, embedding_length=_i32, feed_forward_length=_i32, n_heads=_i32,
    n_kv_heads=_i32, head_size=_i32, bos_token=_i32, eos_token=_i32, threads=_i32, reserved=_i32,
)  # fmt: skip
_SamplingOptions = _struct(
    "_SamplingOptions", seed=_u64, temperature=_float, top_k=_i32, top_p=_float, min_p=_float,
    repetition_penalty=_float, frequency_penalty=_float, presence_penalty=_float, penalty_window=_i32,
)  # fmt: skip
_SessionOptions = _struct("_SessionOptions", sampling=_pointer, context_length=_i32, reserved=_i32)

# Those that return a status end with an error, which Library.call adds.
_FUNCTIONS: Dict[str, Tuple[Any, List[Any]]] = {
    "abi_version": (_u32, []),
    "version_string": (_text, []),
    "error_message": (_text, [_pointer]),
    "error_free": (None, [_pointer]),
    "device_count": (_i32, [_pointer, _pointer]),
    "device_get": (_i32, [_size, _pointer, _pointer]),
    "model_options_init": (None, [_pointer, _size]),
    "model_open": (_i32, [_text, _pointer, _pointer, _pointer]),
    "model_close": (None, [_pointer]),
    "model_estimate": (_i32, [_text, _Int32, _pointer, _pointer, _pointer]),
    "model_get_info": (_i32, [_pointer, _pointer, _pointer]),
    "model_get_device": (_i32, [_pointer, _pointer, _pointer]),
    "model_metadata_count": (_i32, [_pointer, _pointer, _pointer]),
    "model_metadata_key": (_i32, [_pointer, _size, _pointer, _size, _pointer, _pointer]),
    "model_metadata": (_i32, [_pointer, _text, _size, _pointer, _size, _pointer, _pointer]),
    "tokenize": (_i32, [_pointer, _text, _size, _u32, _pointer, _size, _pointer, _pointer]),
    "detokenize": (_i32, [_pointer, _pointer, _size, _u32, _pointer, _size, _pointer, _pointer]),
    "token_piece": (_i32, [_pointer, _Int32, _u32, _pointer, _size, _pointer, _pointer]),
    "token_is_end": (_i32, [_pointer, _Int32, _pointer, _pointer]),
    "sampling_options_init": (None, [_pointer, _size]),
    "session_options_init": (None, [_pointer, _size]),
    "session_create": (_i32, [_pointer, _pointer, _pointer, _pointer]),
    "session_free": (None, [_pointer]),
    "session_prefill": (_i32, [_pointer, _pointer, _size, _pointer]),
    "session_step": (_i32, [_pointer, _pointer, _pointer]),
    "session_logits": (_i32, [_pointer, _pointer, _pointer, _pointer]),
    "session_fork": (_i32, [_pointer, _pointer, _pointer]),
    "session_rewind": (_i32, [_pointer, _Int32, _pointer]),
    "session_set_sampling": (_i32, [_pointer, _pointer, _pointer]),
    "session_save": (_i32, [_pointer, _pointer, _size, _pointer, _pointer]),
    "session_restore": (_i32, [_pointer, _text, _size, _pointer]),
    "session_tokens": (_i32, [_pointer, _pointer, _size, _pointer, _pointer]),
    "session_context_length": (_i32, [_pointer, _pointer, _pointer]),
    "session_cancel": (None, [_pointer]),
}


def _sized(kind: Type[ctypes.Structure]) -> ctypes.Structure:
    return kind(ctypes.sizeof(kind))


def _copied(kind: Callable[..., T], struct: ctypes.Structure) -> T:
    """A dataclass whose fields are those of `struct`."""
    values = {name: getattr(struct, name) for name, *_ in struct._fields_ if name not in ("struct_size", "reserved")}
    return kind(**{n: v.decode("utf-8", "replace") if isinstance(v, bytes) else v for n, v in values.items()})


def _c_array(tokens: Sequence[int]) -> ctypes.Array[ctypes.c_int32]:
    values = array.array("i", tokens)  # refuses what is no 32-bit integer
    return (_i32 * len(values)).from_buffer(values)


class Library:
    """The shared library. Made by load()."""

    def __init__(self, path: str) -> None:
        self.c = ctypes.CDLL(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self.c, f"inlay_{name}")
            function.restype, function.argtypes = result, arguments
        if (found := self.c.inlay_abi_version()) != ABI_VERSION:
            raise RuntimeError(f"{path}: has version {found} of inlay's ABI, this file is for version {ABI_VERSION}")

    @property
    def version(self) -> str:
        """ "major.minor.patch" """
        return str(self.c.inlay_version_string().decode())

    def call(self, name: str, *arguments: Any) -> None:
        """Calls inlay_`name`; raises InlayError if it fails."""
        error = _pointer()
        status = getattr(self.c, f"inlay_{name}")(*arguments, ctypes.byref(error))
        if status == Status.OK:
            return
        message = self.c.inlay_error_message(error).decode("utf-8", "replace")
        self.c.inlay_error_free(error)
        raise InlayError(status, message)

    def read_array(self, element: Any, capacity: int, name: str, *arguments: Any) -> Any:
        """What inlay_`name` writes into a buffer; `capacity` is a guess of its size."""
        size = _size(capacity)
        while True:
            out = (element * size.value)()
            try:
                self.call(name, *arguments, out, size.value, ctypes.byref(size))
                return out[: size.value]
            except InlayError as error:
                if error.status != Status.BUFFER_TOO_SMALL:
                    raise

    def options(self, kind: Type[ctypes.Structure], name: str, given: Any) -> ctypes.Structure:
        """A struct of options with the library's defaults, but for what is given."""
        options = kind()
        getattr(self.c, f"inlay_{name}_init")(ctypes.byref(options), ctypes.sizeof(options))
        known = {member[0] for member in kind._fields_}
        for key, value in given.items():
            if key not in known:
                raise TypeError(f"unknown option {key!r}")
            setattr(options, key, value)
            if isinstance(value, int) and getattr(options, key) != value:
                raise OverflowError(f"option {key}: {value} is out of range")
        return options

    def devices(self) -> List[DeviceInfo]:
        """What models can run on, the CPU first."""
        count = _size()
        self.call("device_count", ctypes.byref(count))
        infos = [_sized(_DeviceInfo) for _ in range(count.value)]
        for index, info in enumerate(infos):
            self.call("device_get", index, ctypes.byref(info))
        return [_copied(DeviceInfo, info) for info in infos]

    def estimate(self, path: Path, context_length: int = 0, **options: Unpack[ModelOptions]) -> MemoryEstimate:
        """Bytes that a model and one session of `context_length` tokens (0: what the model was trained for) take."""
        estimate = _sized(_MemoryEstimate)
        given = _OpenOptions(self, options)
        self.call("model_estimate", os.fsencode(path), context_length, ctypes.byref(given.c), ctypes.byref(estimate))
        return _copied(MemoryEstimate, estimate)


@functools.lru_cache(maxsize=None)
def load(path: Optional[str] = None) -> Library:
    """The library at `path`, or the one that is found; the same object every time."""
    found = path or os.environ.get("INLAY_LIBRARY") or ctypes.util.find_library("inlay") or "libinlay.so"
    return Library(found)


class _OpenOptions:
    """Options for opening a model, with the C functions that call Python's. They live as long as this object."""

    def __init__(self, library: Library, options: ModelOptions) -> None:
        self.raised: Optional[BaseException] = None  # by `progress`: nothing may be thrown through the library
        given: Dict[str, Any] = dict(options)
        progress, log, isa = options.get("progress"), options.get("log"), options.get("cpu_isa")
        if progress is not None:
            given["progress"] = _ProgressFunction(functools.partial(self._progress, progress))
        if log is not None:
            given["log"] = _LogFunction(lambda _, level, text, size: log(level, _utf8(ctypes.string_at(text, size))))
        given["cpu_isa"] = isa.encode() if isa else None
        self.c = library.options(_ModelOptions, "model_options", given)

    def _progress(self, progress: Callable[[float], Optional[Flow]], _user_data: None, fraction: float) -> int:
        try:
            return progress(fraction) or Flow.CONTINUE
        except BaseException as error:  # KeyboardInterrupt, too
            self.raised = error
            return Flow.STOP


def _utf8(data: bytes) -> str:
    return data.decode("utf-8", "replace")


class _Handle:
    """What the library has given and takes back once: by close(), at the end of a `with`, or with this object."""

    def __init__(self, pointer: ctypes.c_void_p, free: Callable[[Any], None]) -> None:
        self._pointer = pointer
        self._free = weakref.finalize(self, free, pointer.value)

    def close(self) -> None:
        """Frees it. Later calls fail with INVALID_ARGUMENT."""
        self._pointer = _pointer()
        self._free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


class Model(_Handle):
    """A GGUF file, opened and ready to run."""

    def __init__(self, path: Path, *, library: Optional[Library] = None, **options: Unpack[ModelOptions]) -> None:
        self.library = library or load()
        self._options = _OpenOptions(self.library, options)  # `log` is called while the model and its sessions live
        pointer = _pointer()
        try:
            self._call("model_open", os.fsencode(path), ctypes.byref(self._options.c), ctypes.byref(pointer))
        except InlayError:
            if self._options.raised is None:
                raise
            raise self._options.raised from None
        super().__init__(pointer, self.library.c.inlay_model_close)

    def _call(self, name: str, *arguments: Any) -> None:
        self.library.call(name, *arguments)

    @property
    def info(self) -> ModelInfo:
        info = _sized(_ModelInfo)
        self._call("model_get_info", self._pointer, ctypes.byref(info))
        return _copied(ModelInfo, info)

    @property
    def device(self) -> DeviceInfo:
        info = _sized(_DeviceInfo)
        self._call("model_get_device", self._pointer, ctypes.byref(info))
        return _copied(DeviceInfo, info)

    def metadata_keys(self) -> List[str]:
        """The keys of the file's metadata, in its order."""
        count, read = _size(), self.library.read_array
        self._call("model_metadata_count", self._pointer, ctypes.byref(count))
        keys = (read(ctypes.c_char, 64, "model_metadata_key", self._pointer, index) for index in range(count.value))
        return [_utf8(key) for key in keys]

    def metadata(self, key: str) -> str:
        """A value as text."""
        data = key.encode()
        return _utf8(self.library.read_array(ctypes.c_char, 256, "model_metadata", self._pointer, data, len(data)))

    def tokenize(self, text: Union[str, bytes], *, add_special: bool = True, parse_special: bool = False) -> List[int]:
        """Token ids. `add_special`: with the tokens that the model wants around a text; `parse_special`: "<|im_start|>"
        and the like become the token of that name."""
        data = text.encode() if isinstance(text, str) else text
        flags = _ADD_SPECIAL * add_special | _PARSE_SPECIAL * parse_special
        tokens = self.library.read_array(_i32, len(data) + 2, "tokenize", self._pointer, data, len(data), flags)
        return list(tokens)

    def detokenize(self, tokens: Sequence[int], *, render_special: bool = False) -> bytes:
        """The text of `tokens`; bytes, because tokens may end inside a character."""
        flags, ids = _RENDER_SPECIAL * render_special, _c_array(tokens)
        read = self.library.read_array
        return bytes(read(ctypes.c_char, 8 * len(ids), "detokenize", self._pointer, ids, len(ids), flags))

    def piece(self, token: int, *, render_special: bool = False) -> bytes:
        """The bytes of one token, possibly a part of a character."""
        flags = _RENDER_SPECIAL * render_special
        return bytes(self.library.read_array(ctypes.c_char, 64, "token_piece", self._pointer, token, flags))

    def is_end(self, token: int) -> bool:
        """Whether the token ends a generation."""
        is_end = _i32()
        self._call("token_is_end", self._pointer, token, ctypes.byref(is_end))
        return is_end.value != 0

    def session(self, *, context_length: int = 0, **sampling: Unpack[SamplingOptions]) -> Session:
        """A sequence of at most `context_length` tokens; 0: as many as the model was trained for."""
        chosen = self.library.options(_SamplingOptions, "sampling_options", sampling)
        given = {"sampling": ctypes.addressof(chosen), "context_length": context_length}
        options = self.library.options(_SessionOptions, "session_options", given)
        pointer = _pointer()
        self._call("session_create", self._pointer, ctypes.byref(options), ctypes.byref(pointer))
        return Session(self, pointer)


class Session(_Handle):
    """One sequence of tokens. Made by Model.session and Session.fork."""

    def __init__(self, model: Model, pointer: ctypes.c_void_p) -> None:
        super().__init__(pointer, model.library.c.inlay_session_free)
        self.model = model
        self._logits: Callable[[], Optional[memoryview[float]]] = lambda: None  # the last view, while somebody holds it

    def _call(self, name: str, *arguments: Any) -> None:
        self._release_logits()
        self.model.library.call(name, self._pointer, *arguments)

    def _read_array(self, element: Any, name: str) -> Any:
        self._release_logits()
        return self.model.library.read_array(element, 0, name, self._pointer)

    def _release_logits(self) -> None:
        if (view := self._logits()) is not None:
            try:
                view.release()
            except BufferError:
                pass  # somebody made something of it that shares its memory, and has been told

    def close(self) -> None:
        self._release_logits()
        super().close()

    def prefill(self, prompt: Prompt) -> None:
        """Appends and evaluates tokens, or the tokens of a text."""
        tokens = _c_array(self.model.tokenize(prompt) if isinstance(prompt, str) else prompt)
        self._call("session_prefill", tokens, len(tokens))

    def step(self) -> int:
        """Chooses the next token and appends it."""
        token = _i32()
        self._call("session_step", ctypes.byref(token))
        return token.value

    def logits(self) -> memoryview[float]:
        """The logits after the last token: a view of the session's floats, without a copy.

        The next call on this session releases it, and a released view raises ValueError when it is read. What shares
        its memory (a slice, numpy.asarray) then shows other numbers, and must not be read after close(); bytes(view)
        or list(view) is a copy to keep.
        """
        data, size = _pointer(), _size()
        self._call("session_logits", ctypes.byref(data), ctypes.byref(size))
        floats: Any = (_float * size.value).from_address(data.value or 0)
        floats.session = self  # the memory lives while anything shows it
        view = memoryview(floats).cast("B").cast("f").toreadonly()
        self._logits = weakref.ref(view)
        return view

    def fork(self) -> Session:
        """A second session with the same tokens and sampler state."""
        pointer = _pointer()
        self._call("session_fork", ctypes.byref(pointer))
        return Session(self.model, pointer)

    def rewind(self, length: int) -> None:
        """Drops all tokens from position `length` on."""
        self._call("session_rewind", length)

    def set_sampling(self, **sampling: Unpack[SamplingOptions]) -> None:
        """Replaces the sampling options and restarts the random stream."""
        options = self.model.library.options(_SamplingOptions, "sampling_options", sampling)
        self._call("session_set_sampling", ctypes.byref(options))

    def save(self) -> bytes:
        """The session as bytes, for restore() here or in another process."""
        return bytes(self._read_array(ctypes.c_char, "session_save"))

    def restore(self, state: bytes) -> None:
        """Makes this session the one that was saved, whatever it held before."""
        self._call("session_restore", state, len(state))

    @property
    def tokens(self) -> List[int]:
        """All tokens so far."""
        return list(self._read_array(_i32, "session_tokens"))

    @property
    def context_length(self) -> int:
        """The most tokens that the session can hold."""
        length = _i32()
        self._call("session_context_length", ctypes.byref(length))
        return length.value

    def cancel(self) -> None:
        """Ends the call that runs on this session, or the next one, with CANCELLED. From any thread, before close()."""
        self.model.library.c.inlay_session_cancel(self._pointer)

    def generate(self, prompt: Optional[Prompt] = None, *, max_tokens: int = 256) -> Generation:
        """Evaluates the prompt, if there is one, and gives an iterator of the pieces of text that follow it."""
        if prompt is not None:
            self.prefill(prompt)
        return Generation(self, max_tokens)


class Generation(Iterator[str]):
    """The pieces of a text, each made when it is asked for: stop asking, and nothing more is computed.

    Steps are calls of their own instead of one inlay_session_generate, so that this needs no thread; the two give the
    same tokens. A character whose bytes come with several tokens is kept back until it is whole.
    """

    def __init__(self, session: Session, max_tokens: int) -> None:
        self.tokens: List[int] = []  # so far, without the end token
        self.finish_reason: Optional[FinishReason] = None  # until it has ended
        self._pieces = self._run(session, max_tokens)

    def __next__(self) -> str:
        return next(self._pieces)

    def _run(self, session: Session, max_tokens: int) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while (token := self._step(session, max_tokens)) is not None:
            self.tokens.append(token)
            if text := decoder.decode(session.model.piece(token)):
                yield text
        if rest := decoder.decode(b"", final=True):
            yield rest

    def _step(self, session: Session, max_tokens: int) -> Optional[int]:
        """The next token, or None and a reason."""
        if len(self.tokens) >= max_tokens:
            self.finish_reason = FinishReason.MAX_TOKENS
            return None
        try:
            token = session.step()
        except InlayError as error:
            if error.status not in _FINISHING:
                raise
            self.finish_reason = _FINISHING[error.status]
            return None
        if session.model.is_end(token):
            self.finish_reason = FinishReason.END_OF_GENERATION
            return None
        return token


_FINISHING: Dict[int, FinishReason] = {
    Status.CONTEXT_FULL: FinishReason.CONTEXT_FULL,
    Status.CANCELLED: FinishReason.CANCELLED,
}
