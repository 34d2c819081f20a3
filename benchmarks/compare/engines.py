"""The measuring side of a worker process."""
import json
import pathlib
import signal
import subprocess
import time
from typing import Any

WORKER = pathlib.Path(__file__).with_name("worker.py")
IDLE_LOOK_SECONDS = 0.01
IDLE_SHARE = 0.02  # of one core
IDLE_LIMIT_SECONDS = 5.0


class EngineFailed(Exception):
    """The engine answered with an error, or its process has died."""


class EngineProcess:
    """An engine that sleeps between calls. Starts at the first call, and again after it has died."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.command = command
        self.process: subprocess.Popen[str] | None = None

    def call(self, function: str, **keywords: Any) -> Any:
        process = self.process or self.start()
        try:
            print(json.dumps({"call": function, **keywords}), file=process.stdin, flush=True)
            line = process.stdout.readline() if process.stdout else ""
        except BrokenPipeError:
            line = ""
        if not line:
            raise EngineFailed(self.bury())
        reply = json.loads(line)
        if "error" in reply:
            raise EngineFailed(reply["error"])
        return reply["result"]

    def start(self) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self.process

    def bury(self) -> str:
        """How the process has ended."""
        status = self.close()
        return f"crashed ({signal.Signals(-status).name})" if status < 0 else f"ended with status {status}"

    def close(self) -> int:
        """Ends the process, if there is one, and returns its status."""
        process, self.process = self.process, None
        if process is None:
            return 0
        for pipe in process.stdin, process.stdout:
            try:
                if pipe:
                    pipe.close()
            except BrokenPipeError:  # what was left to write
                continue
        return process.wait()

    def look(self) -> tuple[bool, float]:
        """Whether no thread runs or wants to, and the CPU seconds of all threads so far."""
        asleep, nanoseconds = True, 0
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task") if self.process else None
        for task in tasks.iterdir() if tasks else ():
            try:
                nanoseconds += int((task / "schedstat").read_text(encoding="ascii").split()[0])
                state = (task / "stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()[0]
            except OSError:  # the thread has just ended
                continue
            asleep = asleep and state != "R"
        return asleep, nanoseconds / 1e9

    def wait_until_idle(self) -> float:
        """Threads may spin for a while after a call. Returns how long it took until none did."""
        start = time.perf_counter()
        while self.process:
            (asleep_before, seconds_before) = self.look()
            time.sleep(IDLE_LOOK_SECONDS)
            (asleep, seconds) = self.look()
            waited = time.perf_counter() - start
            if asleep_before and asleep and seconds - seconds_before < IDLE_SHARE * IDLE_LOOK_SECONDS:
                return waited
            if waited > IDLE_LIMIT_SECONDS:
                self.process.kill()
                raise EngineFailed(f"{self.name} still uses the CPU {waited:.0f} s after its last call")
        return 0.0


def inlay_process(python: str, library: pathlib.Path) -> EngineProcess:
    return EngineProcess("inlay", [python, str(WORKER), "inlay", str(library.resolve())])


def llama_cpp_process(python: pathlib.Path) -> EngineProcess:
    return EngineProcess("llama.cpp", [str(python), str(WORKER), "llama.cpp"])
