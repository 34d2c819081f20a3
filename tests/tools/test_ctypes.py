#!/usr/bin/env python3
"""Uses the shared library through Python's ctypes, as other languages do: test_ctypes.py LIBRARY MODEL."""
import ctypes
import sys

OK, NOT_FOUND = 0, 2
MODEL_INFO_SIZE = 96


def main():
    library = ctypes.CDLL(sys.argv[1])
    model_path = sys.argv[2].encode()
    library.inlay_version_string.restype = ctypes.c_char_p
    library.inlay_error_message.restype = ctypes.c_char_p
    library.inlay_generation_text.restype = ctypes.c_char_p
    for name in "error_message", "error_free", "model_close", "session_free", "generation_text", "generation_free":
        getattr(library, f"inlay_{name}").argtypes = [ctypes.c_void_p] + [ctypes.c_void_p] * (name == "generation_text")
    assert library.inlay_abi_version() == 1

    model, session, generation, error = (ctypes.c_void_p() for _ in range(4))
    assert library.inlay_model_open(b"/none.gguf", None, ctypes.byref(model), ctypes.byref(error)) == NOT_FOUND
    assert b"/none.gguf" in library.inlay_error_message(error)
    library.inlay_error_free(error)

    assert library.inlay_model_open(model_path, None, ctypes.byref(model), None) == OK
    info = (ctypes.c_uint64 * (MODEL_INFO_SIZE // 8))(MODEL_INFO_SIZE)
    assert library.inlay_model_get_info(model, info, None) == OK
    assert ctypes.cast(info[1], ctypes.c_char_p).value == b"llama"

    tokens, size = (ctypes.c_int32 * 64)(), ctypes.c_size_t()
    assert library.inlay_tokenize(model, b"hello", ctypes.c_size_t(5), 1, tokens, ctypes.c_size_t(64),
                                  ctypes.byref(size), None) == OK  # fmt: skip
    assert size.value > 1
    assert library.inlay_session_create(model, None, ctypes.byref(session), None) == OK
    assert library.inlay_session_prefill(session, tokens, size, None) == OK

    calls = []

    @ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t)
    def on_token(_user_data, token, text, text_size):
        calls.append((token, ctypes.string_at(text, text_size)))
        return 1 if len(calls) == 4 else 0

    class GenerateOptions(ctypes.Structure):
        _fields_ = [
            ("struct_size", ctypes.c_size_t),
            ("on_token", ctypes.c_void_p),
            ("on_token_user_data", ctypes.c_void_p),
            ("max_tokens", ctypes.c_int32),
            ("weight_layout", ctypes.c_int32),
        ]

    options = GenerateOptions()
    library.inlay_generate_options_init(ctypes.byref(options), ctypes.c_size_t(ctypes.sizeof(options)))
    assert options.max_tokens == 256
    options.on_token = ctypes.cast(on_token, ctypes.c_void_p)
    assert library.inlay_session_generate(session, ctypes.byref(options), ctypes.byref(generation), None) == OK
    text = library.inlay_generation_text(generation, None)
    assert len(calls) >= 4 and b"".join(part for _, part in calls) == text, (calls, text)
    library.inlay_generation_free(generation)
    library.inlay_model_close(model)
    library.inlay_session_free(session)
    print("inlay", library.inlay_version_string().decode(), "used through ctypes;", len(calls), "callbacks")


if __name__ == "__main__":
    main()
