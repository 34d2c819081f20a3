#!/usr/bin/env python3
"""Compiles and runs every code block of README.md.

cpp, c     built by the README's own cmake block against the installed inlay and run with a small model; they must be
           what stands in examples/, so that no second version exists
cmake      becomes a project with the cpp and c blocks as its sources
sh         runs in a folder that looks like the checkout. Scripts of the project are only checked to exist and to parse;
           cmake, curl and git are stand-ins: presets must exist, and a download gives the small model
text       output, not run
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import stat
import sys

from toolchain import add_arguments, build_project, environment, run

BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = {"cpp": "examples/embed_in_cpp.cpp", "c": "examples/embed_in_c.c"}

PROJECT_HEAD = "cmake_minimum_required(VERSION 3.24)\nproject(readme LANGUAGES C CXX)\n"

# $1 is what the stand-in was called with; each checks what it can and does nothing else.
STAND_INS = {
    "cmake": """case "$*" in
  "--preset "*) grep -qx "$2" "$SANDBOX/presets" ;;
  "--build --preset "*) grep -qx "$3" "$SANDBOX/presets" ;;
  "--install build/"*) grep -qx "${2#build/}" "$SANDBOX/presets" ;;
  *) echo "unknown use of cmake: $*" >&2; exit 1 ;;
esac""",
    "curl": """for last; do :; done
case "$last" in https://*.gguf) cp "$SANDBOX/model.gguf" "$(basename "$last")" ;; *) exit 1 ;; esac""",
    "git": '[ "$1" = clone ]',
    "cc": 'exec $CC $CFLAGS "$@"',
}
SCRIPT_STAND_IN = '[ -x "$ROOT/$0" ] && bash -n "$ROOT/$0"'


def blocks(readme):
    found = {}
    for match in BLOCK.finditer(readme):
        found.setdefault(match[1], []).append(match[2])
    return found


def write_program(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\nset -eu\n{body}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def check_compiled(options, found):
    """The cmake block builds the cpp and c blocks; both programs find model.gguf in the current folder."""
    (cmake,), root, work = found["cmake"], pathlib.Path(options.root), pathlib.Path(options.work)
    project = work / "project"
    project.mkdir(parents=True)
    (project / "CMakeLists.txt").write_text(PROJECT_HEAD + cmake, encoding="utf-8")
    for language, example in EXAMPLES.items():
        (code,) = found[language]
        expected = (root / example).read_text(encoding="utf-8")
        if code != expected:
            raise SystemExit(f"README.md: the {language} block differs from {example}")
        (project / f"main.{language}").write_text(code, encoding="utf-8")
    build_project(options, project, work / "build")
    programs = re.findall(r"add_executable\((\w+)", cmake)
    if len(programs) != len(EXAMPLES):
        raise SystemExit("README.md: the cmake block does not build the C++ and the C program")
    shutil.copy(options.model, work / "model.gguf")
    outputs = {run(work / "build" / program, cwd=work) for program in programs}
    if len(outputs) != 1 or not outputs.pop().strip():
        raise SystemExit(f"the programs of the README print different texts, or none: {outputs}")


def make_sandbox(options):
    sandbox, root = pathlib.Path(options.work, "sandbox"), pathlib.Path(options.root)
    checkout = sandbox / "checkout"
    presets = json.loads((root / "CMakePresets.json").read_text(encoding="utf-8"))["configurePresets"]
    sandbox.mkdir(parents=True)
    (sandbox / "presets").write_text("".join(preset["name"] + "\n" for preset in presets), encoding="utf-8")
    shutil.copy(options.model, sandbox / "model.gguf")
    for name, body in STAND_INS.items():
        write_program(sandbox / "bin" / name, body)
    for script in "examples/quickstart.sh", "tests/run.sh", ".ci/run":
        write_program(checkout / script, SCRIPT_STAND_IN)
    write_program(checkout / "benchmarks/compare_llama_cpp.py", 'exec "$ROOT/$0" "$@"')
    write_program(checkout / "examples/fetch_model.sh", 'echo "$SANDBOX/model.gguf"')
    build = checkout / "build/release"
    build.mkdir(parents=True)
    (build / "bin").symlink_to(options.bin)
    for source in "embed_in_c.c", "embed_in_cpp.cpp":
        shutil.copy(root / "examples" / source, checkout / "examples" / source)
    return sandbox, checkout


def check_shell(options, found):
    sandbox, checkout = make_sandbox(options)
    variables = environment(options)
    path = f"{sandbox / 'bin'}{os.pathsep}{os.environ['PATH']}"
    variables.update(SANDBOX=str(sandbox), ROOT=options.root, CC=options.cc, CFLAGS=options.c_flags, PATH=path)
    for code in found["sh"]:
        run("bash", "-euo", "pipefail", "-c", code, cwd=checkout, env=variables)


def main():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for name in "root", "bin", "model":
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    found = blocks(pathlib.Path(options.root, "README.md").read_text(encoding="utf-8"))
    if unknown := set(found) - {"cpp", "c", "cmake", "sh", "text"}:
        raise SystemExit(f"README.md: code blocks of a kind that nothing checks: {unknown}")
    check_compiled(options, found)
    check_shell(options, found)
    print({kind: len(code) for kind, code in sorted(found.items())}, "blocks compiled or run")


if __name__ == "__main__":
    sys.exit(main())
