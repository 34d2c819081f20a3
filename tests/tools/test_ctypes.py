#!/usr/bin/env python3
"""Tests of examples/python/inlay.py, which calls the shared library through ctypes: test_ctypes.py LIBRARY MODEL FOLDER

FOLDER is that of inlay.py. The model is the one of write_tiny_model.
"""
import ctypes
import gc
import os
import sys
import threading
import unittest

LIBRARY, MODEL, FOLDER = sys.argv[1:4]
sys.path.insert(0, FOLDER)
sys.dont_write_bytecode = True
import inlay  # noqa: E402

OnToken = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t)


class GenerateOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("on_token", OnToken), ("on_token_user_data", ctypes.c_void_p),
                ("max_tokens", ctypes.c_int32), ("reserved", ctypes.c_int32)]  # fmt: skip


def generate_with_callback(session, max_tokens, stop_after):
    """[(token, bytes)] of inlay_session_generate's callback, and the text that the call returns."""
    calls, generation, size, c = [], ctypes.c_void_p(), ctypes.c_size_t(), session.model.library.c
    c.inlay_generation_text.restype = ctypes.c_void_p
    c.inlay_generation_text.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    c.inlay_generation_free.argtypes = [ctypes.c_void_p]

    def on_token(_user_data, token, part, part_size):
        calls.append((token, ctypes.string_at(part, part_size)))
        return 1 if len(calls) == stop_after else 0

    options = GenerateOptions()
    c.inlay_generate_options_init(ctypes.byref(options), ctypes.c_size_t(ctypes.sizeof(options)))
    assert options.max_tokens == 256
    options.on_token, options.max_tokens = OnToken(on_token), max_tokens
    session.model.library.call("session_generate", session._pointer, ctypes.byref(options), ctypes.byref(generation))
    text = ctypes.string_at(c.inlay_generation_text(generation, ctypes.byref(size)), size.value)
    c.inlay_generation_free(generation)
    return calls, text


class InlayTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os.environ["INLAY_LIBRARY"] = LIBRARY  # from here on it is found there
        cls.model = inlay.Model(MODEL, threads=1)

    def assert_fails(self, status, names, call, *arguments, **keywords):
        with self.assertRaises(inlay.InlayError) as raised:
            call(*arguments, **keywords)
        self.assertEqual(raised.exception.status, status)
        self.assertIn(names, str(raised.exception))

    def session(self, prompt="hello", **options):
        session = self.model.session(**options)
        session.prefill(prompt)
        return session


class Loading(InlayTest):
    def test_the_library_is_found_and_its_abi_compared(self):
        self.assertIs(inlay.load(), self.model.library)
        self.assertRegex(inlay.load(LIBRARY).version, r"^\d+\.\d+\.\d+$")
        with self.assertRaises(OSError):
            inlay.load("/no/such/library.so")
        inlay.ABI_VERSION += 1
        try:
            with self.assertRaisesRegex(RuntimeError, "ABI"):
                inlay.Library(LIBRARY)
        finally:
            inlay.ABI_VERSION -= 1

    def test_devices_and_estimate(self):
        cpu, *_ = inlay.load().devices()
        self.assertEqual((cpu.kind, cpu.index), (inlay.DeviceKind.CPU, 0))
        self.assertTrue(cpu.name and cpu.isa)
        short, long = (inlay.load().estimate(MODEL, length) for length in (64, 640))
        self.assertEqual(long.kv_bytes, 10 * short.kv_bytes)
        self.assertEqual(short.total_bytes, short.weight_bytes + short.activation_bytes + short.kv_bytes)
        small = inlay.load().estimate(MODEL, 64, batch_rows=1)
        self.assertLess(small.activation_bytes, short.activation_bytes)


class Opening(InlayTest):
    def test_what_is_no_model_is_an_error_that_names_it(self):
        self.assert_fails(inlay.Status.NOT_FOUND, "/none.gguf", inlay.Model, "/none.gguf")
        self.assert_fails(inlay.Status.INVALID_MODEL, LIBRARY, inlay.Model, LIBRARY)

    def test_options(self):
        with inlay.Model(MODEL, threads=3, cpu_isa="generic", weight_layout=inlay.WeightLayout.AS_IN_FILE) as model:
            self.assertEqual((model.info.threads, model.device.isa), (3, "generic"))
        self.assert_fails(inlay.Status.INVALID_ARGUMENT, "z80", inlay.Model, MODEL, cpu_isa="z80")
        self.assert_fails(inlay.Status.INVALID_ARGUMENT, "threads", inlay.Model, MODEL, threads=-1)
        with self.assertRaisesRegex(TypeError, "thread_count"):
            inlay.Model(MODEL, thread_count=1)
        with self.assertRaisesRegex(OverflowError, "threads"):
            inlay.Model(MODEL, threads=2**32 + 1)

    def test_progress_and_log(self):
        fractions, messages = [], []
        inlay.Model(MODEL, progress=fractions.append, log=lambda level, text: messages.append((level, text))).close()
        self.assertEqual((fractions, fractions[-1]), (sorted(fractions), 1))
        self.assertTrue(messages and all(text for _, text in messages))
        stop = inlay.Flow.STOP
        self.assert_fails(inlay.Status.CANCELLED, "", inlay.Model, MODEL, progress=lambda fraction: stop)
        with self.assertRaises(KeyError):
            inlay.Model(MODEL, progress=lambda fraction: {}["raised"])

    def test_the_information_is_that_of_the_file(self):
        self.assertEqual(
            self.model.info,
            inlay.ModelInfo(
                architecture="llama", name="Tiny", quantization="F32", parameters=self.model.info.parameters,
                file_bytes=os.path.getsize(MODEL), vocab_size=320, context_length=16384, n_layers=2,
                embedding_length=64, feed_forward_length=128, n_heads=4, n_kv_heads=2, head_size=16, bos_token=1,
                eos_token=2, threads=1,
            ),
        )  # fmt: skip


    def test_metadata(self):
        keys = self.model.metadata_keys()
        self.assertEqual(self.model.metadata("general.architecture"), "llama")
        self.assertIn("general.architecture", keys)
        self.assertTrue(all(self.model.metadata(key) for key in keys))
        self.assert_fails(inlay.Status.NOT_FOUND, "no.such.key", self.model.metadata, "no.such.key")


class Text(InlayTest):
    def test_text_becomes_tokens_and_comes_back(self):
        for text in "hello", "", "caf\u00e9 \u20ac \U0001f600" * 50:
            tokens = self.model.tokenize(text)
            self.assertEqual(self.model.detokenize(tokens).decode(), text)
            self.assertEqual(tokens[0], self.model.info.bos_token)
            self.assertEqual(self.model.tokenize(text, add_special=False), tokens[1:])
        self.assertIn(b"\xff", self.model.detokenize(self.model.tokenize(b"\xff")))
        self.assertLess(
            len(self.model.tokenize("</s>", parse_special=True)), len(self.model.tokenize("</s>", parse_special=False))
        )

    def test_pieces_and_ends(self):
        self.assertEqual(self.model.piece(self.model.tokenize("hello")[-1]).decode()[-1], "o")
        self.assertEqual((self.model.piece(2), self.model.piece(2, render_special=True)), (b"", b"</s>"))
        self.assertEqual((self.model.is_end(2), self.model.is_end(3)), (True, False))
        self.assert_fails(inlay.Status.INVALID_ARGUMENT, "320", self.model.piece, 320)
        with self.assertRaises(ctypes.ArgumentError):
            self.model.piece(2**32 + 3)
        with self.assertRaises(OverflowError):
            self.model.detokenize([2**32 + 3])


class Sessions(InlayTest):
    def test_a_greedy_step_takes_the_highest_logit(self):
        session = self.session()
        for _ in range(3):
            logits = list(session.logits())
            self.assertEqual(len(logits), 320)
            self.assertEqual(session.step(), logits.index(max(logits)))

    def test_logits_are_a_view_that_the_next_call_releases(self):
        session = self.session()
        view, kept = session.logits(), list(session.logits())
        self.assertRaises(ValueError, lambda: view[0])
        view = session.logits()
        self.assertTrue(view.readonly)
        self.assertEqual(list(view), kept)
        part = view[1:3]
        token = session.step()
        self.assertRaises(ValueError, lambda: view[0])
        session.logits()
        self.assertNotEqual(list(part), kept[1:3], f"token {token}: the memory is the session's, not a copy")
        view = session.logits()
        session.close()
        self.assertRaises(ValueError, lambda: view[0])

    def test_logits_keep_the_session(self):
        view = self.session().logits()
        gc.collect()
        self.assertEqual(list(view), list(self.session().logits()))

    def test_fork_and_rewind(self):
        session = self.session(temperature=2.0, seed=5)
        fork = session.fork()
        self.assertEqual([session.step() for _ in range(20)], [fork.step() for _ in range(20)])
        before = self.model.tokenize("hello")
        self.assertEqual(fork.tokens[: len(before)], before)
        self.assertEqual(len(fork.tokens), len(before) + 20)
        fork.rewind(len(before))
        self.assertEqual(fork.tokens, before)
        self.assertEqual(list(fork.logits()), list(self.session().logits()))
        self.assert_fails(inlay.Status.INVALID_ARGUMENT, "", fork.rewind, 1000)
        with self.assertRaises(ctypes.ArgumentError):
            fork.rewind(2**32)

    def test_save_and_restore(self):
        session = self.session(temperature=2.0, seed=5)
        session.step()
        state, other = session.save(), self.model.session()
        other.restore(state)
        self.assertEqual(other.tokens, session.tokens)
        self.assertEqual([other.step() for _ in range(20)], [session.step() for _ in range(20)])
        damaged = state[:-1] + bytes([state[-1] ^ 1])
        self.assert_fails(inlay.Status.INVALID_STATE, "", self.model.session().restore, damaged)

    def test_sampling(self):
        session, length = self.session(temperature=2.0, top_k=100, seed=3), len(self.model.tokenize("hello"))
        texts = []
        for seed in 3, 3, 4:
            session.rewind(length)
            session.set_sampling(temperature=2.0, top_k=100, seed=seed)
            texts.append([session.step() for _ in range(20)])
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[1], texts[2])
        self.assertEqual([self.session(temperature=2.0, top_k=100, seed=3).step()], texts[0][:1])
        self.assert_fails(inlay.Status.INVALID_ARGUMENT, "top_p", self.model.session, top_p=2.0)
        with self.assertRaisesRegex(TypeError, "heat"):
            session.set_sampling(heat=1.0)

    def test_a_context_has_an_end(self):
        session = self.session(context_length=8)
        self.assertEqual(session.context_length, 8)
        self.assert_fails(inlay.Status.CONTEXT_FULL, "8", session.prefill, [5] * 8)

    def test_cancel_from_another_thread(self):
        session = self.model.session()
        thread = threading.Thread(target=session.cancel)
        thread.start()
        thread.join()
        self.assert_fails(inlay.Status.CANCELLED, "cancel", session.prefill, [5] * 8)
        session.prefill([5] * 8)

    def test_handles_may_be_closed_in_any_order(self):
        model = inlay.Model(MODEL)
        with model.session() as session:
            model.close()
            session.prefill([5, 6])
            model.close()
        self.assert_fails(inlay.Status.INVALID_ARGUMENT, "session", session.step)
        self.assert_fails(inlay.Status.INVALID_ARGUMENT, "model", model.session)

    def test_what_nobody_holds_is_freed(self):
        session = self.session()
        freed = session._free
        session.logits()
        del session
        self.assertFalse(freed.alive)


class Generating(InlayTest):
    def test_pieces_are_those_of_the_library(self):
        for seed in range(8):  # noise, so that there are bytes that are no UTF-8
            calls, text = generate_with_callback(self.session(temperature=5.0, seed=seed), 200, None)
            generation = self.session(temperature=5.0, seed=seed).generate(max_tokens=200)
            self.assertEqual("".join(generation), text.decode())
            self.assertEqual(generation.tokens, [token for token, _ in calls if token >= 0])
            self.assertEqual(b"".join(part for _, part in calls), text)

    def test_a_callback_can_stop(self):
        calls, text = generate_with_callback(self.session(), 256, 4)
        self.assertEqual(len([token for token, _ in calls if token >= 0]), 4)
        self.assertEqual(b"".join(part for _, part in calls), text)

    def test_nothing_is_computed_that_nobody_asks_for(self):
        session = self.model.session()
        generation = session.generate("hello", max_tokens=50)
        length = len(self.model.tokenize("hello"))
        self.assertEqual((len(session.tokens), generation.tokens), (length, []))
        next(generation)
        self.assertEqual(session.tokens[length:], generation.tokens)
        self.assertLess(len(generation.tokens), 10)
        self.assertIsNone(generation.finish_reason)

    def test_why_it_ends(self):
        def reason(session, max_tokens):
            generation = session.generate(max_tokens=max_tokens)
            for _ in generation:
                pass
            self.assertRaises(StopIteration, next, generation)
            return generation.finish_reason

        self.assertEqual(reason(self.session(), 3), inlay.FinishReason.MAX_TOKENS)
        self.assertEqual(reason(self.session(context_length=20), 100), inlay.FinishReason.CONTEXT_FULL)
        session = self.session()
        session.cancel()
        self.assertEqual(reason(session, 3), inlay.FinishReason.CANCELLED)
        ends = {reason(self.session(temperature=100.0, seed=seed), 2000) for seed in range(2)}
        self.assertIn(inlay.FinishReason.END_OF_GENERATION, ends)
        self.assert_fails(inlay.Status.INVALID_ARGUMENT, "tokens", lambda: list(self.model.session().generate()))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
