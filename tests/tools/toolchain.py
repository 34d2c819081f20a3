"""Builds small CMake projects against the installed inlay, with the compiler and flags of the build under test."""
import os
import pathlib
import shutil
import subprocess


def add_arguments(parser):
    for name in "cmake", "generator", "installed", "cc", "cxx", "c-flags", "cxx-flags", "work":
        parser.add_argument(f"--{name}", required=True)


def run(*command, **keywords):
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **keywords)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def library_folder(options):
    return next(pathlib.Path(options.installed).rglob("libinlay.a")).parent


def environment(options):
    """What a program or pkg-config needs to find the installed tree."""
    folder = library_folder(options)
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "PKG_CONFIG_PATH": str(folder / "pkgconfig")}


def build_project(options, source, build, languages=("C", "CXX")):
    """Configures and builds the project in folder `source`."""
    shutil.rmtree(build, ignore_errors=True)
    compilers = {"C": (options.cc, options.c_flags), "CXX": (options.cxx, options.cxx_flags)}
    settings = [setting for language in languages
                for setting in (f"-DCMAKE_{language}_COMPILER={compilers[language][0]}",
                                f"-DCMAKE_{language}_FLAGS={compilers[language][1]}")]  # fmt: skip
    run(options.cmake, "-S", source, "-B", build, "-G", options.generator, f"-DCMAKE_PREFIX_PATH={options.installed}",
        *settings)  # fmt: skip
    run(options.cmake, "--build", build)
