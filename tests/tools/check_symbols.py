#!/usr/bin/env python3
"""Checks what the libraries export and call.

The shared library exports the functions of inlay.h, the C++ API, and nothing else. The objects call nothing that ends
the process, prints, starts processes or installs handlers, and do no work in static initialisers. What the CUDA
compiler adds to the objects (--cuda) is left out: it registers kernels at start-up, and gives device functions host
versions that are never called.
"""
import argparse
import re
import subprocess
import sys

FUNCTION = re.compile(r"INLAY_C_API [^;]*?\b(inlay_\w+)\(")
# the public C++ API has no namespaces inside inlay
PUBLIC_CPP = re.compile(
    r"(?:typeinfo (?:name )?for |vtable for )?inlay::"
    r"(?:Model|Session|Batch|Tokenizer|Utf8Stream|devices|quantize|quantize_types|to_string|version_string)\b(?!::Impl)"
)
FORBIDDEN = {
    "abort", "exit", "_exit", "_Exit", "quick_exit", "atexit", "__assert_fail", "fork", "vfork", "execve", "system",
    "popen", "posix_spawn", "printf", "fprintf", "vprintf", "vfprintf", "puts", "putchar", "fputs", "fwrite", "perror",
    "__printf_chk", "__fprintf_chk", "stdout", "stderr", "signal", "sigaction", "std::cout", "std::cerr", "std::clog",
    "setlocale", "putenv", "setenv", "srand", "rand", "strerror",
}  # fmt: skip


OF_CUDA_COMPILER = {"atexit", "exit"}


def symbols(nm, *arguments):
    """(type, demangled name) of every line of nm."""
    output = subprocess.run([nm, "-C", *arguments], check=True, capture_output=True, text=True).stdout
    for line in output.splitlines():
        if match := re.match(r"(?:[0-9a-f]+)?\s+([A-Za-z])\s+(.+)", line):
            yield match[1], match[2]


def check_exports(nm, library, header):
    declared = set(FUNCTION.findall(header))
    exported = {name for _, name in symbols(nm, "-D", "--defined-only", library)}
    for name in sorted(declared - exported):
        yield f"{name} is declared in inlay.h and not exported"
    for name in sorted(exported - declared):
        if not PUBLIC_CPP.match(name):
            yield f"exported, but no part of the API: {name}"
    print(f"{len(declared)} C functions and {len(exported - declared)} C++ symbols exported")


def check_calls(nm, library, excused):
    undefined = {name.split("@")[0] for kind, name in symbols(nm, "--undefined-only", library) if kind in "Uw"}
    for name in sorted(undefined & FORBIDDEN - excused):
        yield f"the library uses {name}"
    for _, name in symbols(nm, "--defined-only", library):
        if name.startswith("_GLOBAL__sub_I"):
            yield f"work in a static initialiser: {name}"
    print(f"{len(undefined)} symbols of other libraries used, none of {len(FORBIDDEN - excused)} forbidden ones")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nm", required=True)
    parser.add_argument("--header", required=True)
    parser.add_argument("--shared", required=True)
    parser.add_argument("--static", help="left out for instrumented builds")
    parser.add_argument("--cuda", action="store_true", help="the library has the CUDA backend")
    options = parser.parse_args()
    with open(options.header, encoding="utf-8") as file:
        violations = list(check_exports(options.nm, options.shared, file.read()))
    if options.static:
        violations += check_calls(options.nm, options.static, OF_CUDA_COMPILER if options.cuda else set())
    print("\n".join(violations))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
