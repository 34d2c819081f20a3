#!/usr/bin/env python3
"""Builds examples/consumer against the installed inlay with find_package, and again with pkg-config, and runs it."""
import argparse
import pathlib
import shlex
import sys

from toolchain import add_arguments, build_project, environment, run


def main():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--source", required=True)
    options = parser.parse_args()
    work = pathlib.Path(options.work)
    found = environment(options)

    build_project(options, options.source, work)
    print(run(work / "consumer_cpp"), run(work / "consumer_c"), sep="", end="")

    source = pathlib.Path(options.source) / "main.c"
    for kind, static in ("shared", []), ("static", ["--static"]):
        flags = shlex.split(run("pkg-config", "--cflags", "--libs", *static, "inlay", env=found))
        if static:  # the linker would take the shared library
            flags = ["-l:libinlay.a" if flag == "-linlay" else flag for flag in flags]
        program = work / f"pkg_config_{kind}"
        run(options.cc, "-std=c11", *shlex.split(options.c_flags), source, "-o", program, *flags)
        print(f"{kind}:", run(program, env=found), end="")


if __name__ == "__main__":
    sys.exit(main())
