"""What is measured: inlay as this checkout builds it, and a pinned llama.cpp compiled for this machine."""
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import venv
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEER_PACKAGE = "llama-cpp-python"
PEER_VERSION = "0.3.36"

# The AMX path of this version crashes on batches of several tokens. -march=native would switch it on.
WITHOUT_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
NATIVE = ["-DGGML_NATIVE=ON"]
AVX2_ONLY = ["-DGGML_NATIVE=OFF", "-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON",
             "-DGGML_BMI2=ON", "-DGGML_AVX512=OFF", "-DGGML_AVX_VNNI=OFF"]  # fmt: skip


class SetupError(Exception):
    """Something that is needed could not be built or found."""


@dataclass(frozen=True)
class Inlay:
    library: pathlib.Path
    bench: pathlib.Path


def run_logged(command: list[str], log: pathlib.Path, variables: dict[str, str] | None = None) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=variables)
    if done.returncode != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        raise SetupError("\n".join([*tail, f"{shlex.join(command)}: failed; {log} has its whole output"]))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def build_inlay(folder: pathlib.Path | None) -> Inlay:
    """The release build, brought up to date; with `folder`, what has been built there."""
    if folder is None:
        folder = ROOT / "build/release"
        log = ROOT / "build/compare/inlay.log"
        say("building inlay ...")
        run_logged(["cmake", "--preset", "release"], log)
        run_logged(["cmake", "--build", "--preset", "release", "--target", "inlay_shared", "inlay-bench"], log)
    built = Inlay(folder / "libinlay.so", folder / "bin/inlay-bench")
    for path in built.library, built.bench:
        if not path.exists():
            raise SetupError(f"{path}: does not exist")
    return built


def cmake_arguments(isa: str | None) -> str:
    arguments = list(AVX2_ONLY if isa == "avx2" else NATIVE)
    if isa is None and platform.machine() in ("x86_64", "AMD64"):
        arguments += [f"-DCMAKE_C_FLAGS={WITHOUT_AMX}", f"-DCMAKE_CXX_FLAGS={WITHOUT_AMX}"]
    return shlex.join(arguments)


def installed_version(python: pathlib.Path) -> str | None:
    if not python.exists():
        return None
    code = f"import importlib.metadata as m; print(m.version('{PEER_PACKAGE}'))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def install_peer(folder: pathlib.Path | None, isa: str | None) -> pathlib.Path:
    """The Python of an environment that has the peer; built on first use, one environment for each instruction set."""
    folder = folder or ROOT / f"build/compare/venv-{isa or 'native'}"
    python = folder / "bin/python"
    if installed_version(python) == PEER_VERSION:
        return python
    say(f"compiling {PEER_PACKAGE} {PEER_VERSION} into {folder}; this takes some minutes, once ...")
    venv.create(folder, with_pip=True)
    # The cache of pip may hold a build with other flags.
    command = [str(python), "-m", "pip", "install", "--no-cache-dir", "--no-binary", PEER_PACKAGE]
    variables = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1), **os.environ}
    variables["CMAKE_ARGS"] = cmake_arguments(isa)
    run_logged([*command, f"{PEER_PACKAGE}=={PEER_VERSION}"], folder / "install.log", variables)
    return python


def cpu_name() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
