#!/usr/bin/env python3
"""Makes the reference without a warning: check_reference.py DOXYGEN DOXYFILE HEADERS OUTPUT

Also proves that Doxygen notices what is missing: in a copy of the headers with comments taken away, and a link that
leads nowhere, it must fail and name each thing. Without Doxygen the status is 77: skipped.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
FUNCTION = re.compile(r"INLAY_C_API [^;]*?\b(inlay_\w+)\(")
NUMBER = re.compile(r"\b(INLAY_\w+) = ")
# header, a pattern in it, what comes in its place, what the warning names
SEEDED = [
    ("inlay.h", r"/\*[^/]*\*/\n(?=INLAY_C_API void inlay_session_free)", "", "inlay_session_free"),
    ("inlay.h", r"(int32_t max_tokens;) *\/\*.*", r"\1", "max_tokens"),
    ("inlay.h", r"/\*.*\*/\n(?=typedef struct inlay_generate_options)", "", "inlay_generate_options"),
    ("inlay/session.hpp", r"  ///.*\n(?=.* tokens\(\))", "", "tokens()"),
    ("inlay/result.hpp", r"///.*\n(?=class \[\[nodiscard\]\] Status)", "", "inlay::Status"),
    ("inlay/types.hpp", "/// A token id", r"/// \\ref nowhere A token id", "nowhere"),
]


def run_doxygen(doxygen, doxyfile, headers, output):
    """(status, output) of Doxygen with another input and output."""
    configuration = pathlib.Path(doxyfile).read_text(encoding="utf-8")
    configuration += f'\nINPUT = "{headers}"\nOUTPUT_DIRECTORY = "{output}"\n'
    done = subprocess.run([doxygen, "-"], input=configuration, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)  # fmt: skip
    return done.returncode, done.stdout


def check_seeded(doxygen, doxyfile, headers):
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, "include")
        shutil.copytree(headers, copy)
        for name, pattern, replacement, _ in SEEDED:
            text = (copy / name).read_text(encoding="utf-8")
            changed = re.sub(pattern, replacement, text, count=1)
            assert changed != text, f"{name}: nothing matches {pattern}"
            (copy / name).write_text(changed, encoding="utf-8")
        status, warnings = run_doxygen(doxygen, doxyfile, copy, folder)
    assert status != 0, "missing comments are no failure"
    for name, pattern, _, thing in SEEDED:
        assert thing in warnings, f"{name} without {pattern}: not noticed\n{warnings}"


def check_pages(output, headers):
    """The functions and numbers of the C API are all there: the headers have been read as they should."""
    header = (headers / "inlay.h").read_text(encoding="utf-8")
    functions, numbers = FUNCTION.findall(header), NUMBER.findall(header)
    page = (output / "html/inlay_8h.html").read_text(encoding="utf-8")
    missing = [name for name in functions + numbers if not re.search(rf"\b{name}\b", page)]
    assert functions and not missing, f"not in the reference: {missing}"
    assert "Guarantees" in (output / "html/index.html").read_text(encoding="utf-8"), "the main page is another one"
    return len(functions)


def main():
    doxygen, doxyfile, headers, output = sys.argv[1:]
    if not shutil.which(doxygen):
        print("skipped: doxygen is missing")
        return SKIPPED
    headers, output = pathlib.Path(headers), pathlib.Path(output)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    status, warnings = run_doxygen(doxygen, doxyfile, headers, output)
    if status != 0 or warnings:
        print(warnings)
        return 1
    count = check_pages(output, headers)
    check_seeded(doxygen, doxyfile, headers)
    print(f"the reference of {count} C functions and the C++ API, without a warning; {len(SEEDED)} seeded gaps noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
