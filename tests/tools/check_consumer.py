#!/usr/bin/env python3
"""Builds examples/consumer against an installed tree and runs it with a model: in C, in C++, in C++ without exceptions
and run-time types, against the shared and the static libraries, found by find_package and by pkg-config. Nothing in the
tree may name the folder that it was installed or built in: it may be moved."""
import argparse
import pathlib
import re
import shlex
import sys

from toolchain import add_arguments, build_project, environment, library_folder, run

# The kind of library that a program was made for is the end of its name; the others take what is the default.
LINKED = re.compile(r"\(NEEDED\).*\[(libinlay\w*\.so\.[\w.]+)\]")


def check_linked(program, expected):
    """The program loads this library, or none."""
    found = LINKED.findall(run("readelf", "-d", program))
    if found != expected:
        raise SystemExit(f"{program} loads {found}, and not {expected}")


def shared_name(options, library):
    """The name that a program asks the loader for."""
    return re.search(r"SONAME.*\[(.*)\]", run("readelf", "-d", library_folder(options) / f"lib{library}.so"))[1]


def check_movable(options):
    texts = [path for path in library_folder(options).rglob("*") if path.suffix in (".cmake", ".pc")]
    for path in texts:
        text = path.read_text(encoding="utf-8")
        if options.toolkit:  # stays where it is, and static CUDA libraries are linked from there
            text = text.replace(f"-L{options.toolkit}", "")
        for folder in options.folder:
            if folder in text:
                raise SystemExit(f"{path} names {folder}")
    if len(texts) < 5:
        raise SystemExit(f"only {texts} found below {library_folder(options)}")


def check_find_package(options, work):
    """What the programs print."""
    for project, languages in (options.source, ("C", "CXX")), (pathlib.Path(options.source, "c"), ("C",)):
        build_project(options, project, work / "-".join(languages), languages)
    outputs = set()
    for name, library in ("consumer_cpp", "inlay"), ("consumer_cpp_plain", "inlay"), ("consumer_c", "inlay_c"):
        folder = work / ("C" if library == "inlay_c" else "C-CXX")
        outputs.add(run(folder / name, options.model))
        for kind in () if name.endswith("plain") else ("static", "shared"):
            program = folder / f"{name}_{kind}"
            check_linked(program, [shared_name(options, library)] if kind == "shared" else [])
            outputs.add(run(program, options.model))
    run(work / "C-CXX" / "consumer_c_api_plain")
    return outputs


def check_pkg_config(options, work):
    found, outputs = environment(options), set()
    c_source, cpp_source = (pathlib.Path(options.source, name) for name in ("c/main.c", "main.cpp"))
    compilers = {
        c_source: [options.cc, "-std=c11", *shlex.split(options.c_flags)],
        cpp_source: [options.cxx, "-std=c++20", *shlex.split(options.cxx_flags)],
    }
    for library, source in ("inlay_c", c_source), ("inlay", c_source), ("inlay", cpp_source):
        for kind, static in ("shared", []), ("static", ["--static"]):
            flags = shlex.split(run("pkg-config", "--cflags", "--libs", *static, library, env=found))
            if static:  # the linker would take the shared library
                flags = [f"-l:lib{library}.a" if flag == f"-l{library}" else flag for flag in flags]
            program = work / f"pkg_config_{library}_{source.suffix[1:]}_{kind}"
            run(*compilers[source], source, "-o", program, *flags)
            check_linked(program, [] if static else [shared_name(options, library)])
            outputs.add(run(program, options.model, env=None if static else found))
    return outputs


def check_consumers(options):
    work = pathlib.Path(options.work)
    check_movable(options)
    outputs = check_find_package(options, work) | check_pkg_config(options, work)
    if len(outputs) != 1:
        raise SystemExit(f"the programs print different texts: {outputs}")
    text = outputs.pop()
    print(f"14 programs built against {options.installed} print the same {len(text)} characters: {text[:40]!r}...")


def consumer_arguments(parser):
    add_arguments(parser)
    parser.add_argument("--source", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--toolkit", metavar="FOLDER", help="the CUDA Toolkit's libraries")
    parser.add_argument("--folder", action="append", default=[], help="must be named nowhere in the tree")


def main():
    parser = argparse.ArgumentParser()
    consumer_arguments(parser)
    check_consumers(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
