#!/usr/bin/env python3
"""Checks what the built libraries export, call and do when they are loaded.

libinlay.so exports the functions of inlay.h, the C++ API and nothing else; libinlay_c.so and libinlay_c.a the functions
of inlay.h alone, those of the shared one under a version. Neither the objects nor the shared libraries call anything
that ends the process, prints, starts processes or installs handlers. Loading them runs no code but the compiler's own.
"""
import argparse
import os
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
    "abort", "exit", "_exit", "_Exit", "quick_exit", "std::terminate()", "raise", "kill", "tgkill", "pthread_kill",
    "pthread_exit", "pthread_cancel", "longjmp", "__longjmp_chk",
    "__assert", "__assert_fail", "__assert_perror_fail", "std::__replacement_assert", "std::__glibcxx_assert_fail",
    "atexit", "at_quick_exit", "on_exit", "__cxa_atexit", "__cxa_thread_atexit", "pthread_atfork",
    "fork", "_Fork", "vfork", "clone", "execve", "execv", "execvp", "execl", "execlp", "system", "popen", "posix_spawn",
    "posix_spawnp", "daemon",
    "printf", "vprintf", "fprintf", "vfprintf", "dprintf", "vdprintf", "puts", "putchar", "fputs", "fputc", "putc",
    "fwrite", "perror", "psignal", "syslog", "__printf_chk", "__vprintf_chk", "__fprintf_chk", "__vfprintf_chk",
    "__dprintf_chk", "stdout", "stderr", "stdin", "std::cout", "std::cerr", "std::clog", "std::wcout", "std::wcerr",
    "std::ios_base::Init::Init()",
    "signal", "sigaction", "sigaltstack", "siginterrupt", "bsd_signal", "sysv_signal", "__sysv_signal",
    "std::set_terminate(void (*)())", "std::set_new_handler(void (*)())", "mallopt", "setitimer", "alarm", "setrlimit",
    "setlocale", "putenv", "setenv", "unsetenv", "clearenv", "chdir", "umask", "srand", "rand", "strerror",
}  # fmt: skip
# The compiler's own: it marks the library as loaded (nothing where there is no transactional memory), and libgcc asks
# the processor what it can, by cpuid alone, for __builtin_cpu_supports.
START_UP = {"frame_dummy", "__cpu_indicator_init"}

# What the CUDA compiler and its runtime, which is linked in, add: they register kernels when the library is loaded, and
# give device functions host versions that are never called.
CUDA_CALLS = {"atexit", "exit", "__cxa_atexit", "setenv", "fwrite", "pthread_kill", "kill"}
CUDA_START_UP = re.compile(r"__sti____cudaRegisterAll|libcudart_static_")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols(nm, *arguments):
    """(type, demangled name) of every line of nm."""
    for line in output(nm, "-C", *arguments).splitlines():
        if match := re.match(r"(?:[0-9a-f]+)?\s+([A-Za-z])\s+(.+)", line):
            yield match[1], match[2]


def check_exports(library, exported, declared, others):
    """`others`: what may be exported besides the declared functions."""
    library = os.path.basename(library)
    for name in sorted(declared - exported):
        yield f"{library}: {name} is declared in inlay.h and not exported"
    strangers = exported - declared
    for name in sorted(strangers):
        if not others.match(name):
            yield f"{library}: exported, but no part of the API: {name}"
    print(f"{library}: {len(declared)} C functions and {len(strangers)} other symbols exported")


def check_versions(library, exported):
    """Every function belongs to a node of the C library's version script."""
    library = os.path.basename(library)
    for name in sorted(exported):
        if name.startswith("inlay_") and not re.search(r"@@INLAY_\d", name):
            yield f"{library}: {name} has no version"


def check_calls(nm, library, excused):
    used = {name.split("@")[0] for kind, name in symbols(nm, "--undefined-only", library) if kind in "Uwv"}
    initialisers = [name for _, name in symbols(nm, "--defined-only", library) if name.startswith("_GLOBAL__sub_I")]
    library = os.path.basename(library)
    bad = used & FORBIDDEN - excused
    for name in sorted(bad):
        yield f"{library}: uses {name}"
    for name in initialisers:
        yield f"{library}: work in a static initialiser: {name}"
    print(f"{library}: {len(used)} symbols of others used, {len(bad)} of {len(FORBIDDEN - excused)} forbidden ones")


def start_up_functions(nm, readelf, library):
    """The names of the functions in .init_array."""
    sections = output(readelf, "-SW", library)
    section = re.search(r"\.init_array\s+INIT_ARRAY\s+([0-9a-f]+)\s+\S+\s+([0-9a-f]+)", sections)
    start, size = (int(number, 16) for number in section.groups())
    names = {}
    for line in output(nm, "--defined-only", library).splitlines():
        address, kind, name = line.split(maxsplit=2)
        if kind in "tT":
            names.setdefault(int(address, 16), name)
    functions = []
    for line in output(readelf, "-rW", library).splitlines():
        match = re.match(r"([0-9a-f]+)\s+[0-9a-f]+\s+R_\w+_RELATIVE\s+([0-9a-f]+)", line)
        if match and start <= int(match[1], 16) < start + size:
            functions.append(names.get(int(match[2], 16), match[2]))
    if len(functions) * 8 != size:
        raise SystemExit(f"{library}: .init_array has {size} bytes, and relocations for {len(functions)} functions")
    return functions


def check_start_up(nm, readelf, library, cuda):
    functions = start_up_functions(nm, readelf, library)
    library = os.path.basename(library)
    for name in functions:
        if name not in START_UP and not (cuda and CUDA_START_UP.search(name)):
            yield f"{library}: loading it runs {name}"
    print(f"{library}: loading it runs {', '.join(functions)}")


def check(options, declared):
    nm, excused = options.nm, CUDA_CALLS if options.cuda else set()
    exported = {name for _, name in symbols(nm, "-D", "--defined-only", options.shared)}
    yield from check_exports(options.shared, exported, declared, PUBLIC_CPP)

    exported = {name for _, name in symbols(nm, "-D", "--defined-only", options.c_shared)}
    yield from check_versions(options.c_shared, exported)
    plain = {name.split("@")[0] for name in exported}
    yield from check_exports(options.c_shared, plain, declared, re.compile(r"INLAY_\d+$"))

    exported = {name for _, name in symbols(nm, "-g", "--defined-only", options.c_static)}
    yield from check_exports(options.c_static, exported, declared, re.compile(r"$.^"))
    if options.instrumented:  # sanitizers and coverage add code of their own
        return
    for library in options.static, options.c_shared, options.shared:
        yield from check_calls(nm, library, excused)
    for library in options.c_shared, options.shared:
        yield from check_start_up(nm, options.readelf, library, options.cuda)


def main():
    parser = argparse.ArgumentParser()
    for name in "nm", "readelf", "header", "shared", "static", "c-shared", "c-static":
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--instrumented", action="store_true", help="built with sanitizers or coverage")
    parser.add_argument("--cuda", action="store_true", help="the library has the CUDA backend")
    options = parser.parse_args()
    with open(options.header, encoding="utf-8") as file:
        declared = set(FUNCTION.findall(file.read()))
    violations = list(check(options, declared))
    print("\n".join(violations))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
