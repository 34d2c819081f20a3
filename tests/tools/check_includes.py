#!/usr/bin/env python3
"""Checks the dependency direction: which folder may include which (CONTRIBUTING.md draws the picture).

Usage: check_includes.py ROOT            check the project
       check_includes.py --self-test     prove that every rule notices its violation
"""
import pathlib
import re
import sys
import tempfile

# area -> areas whose headers it may include, besides its own, the public headers and the standard library
MAY_SEE = {
    "include": set(),
    "lib/base": set(),
    "lib/quant": {"lib/base"},
    "lib/gguf": {"lib/base", "lib/quant"},
    "lib/quantize": {"lib/base", "lib/quant", "lib/gguf"},
    "lib/tokenizer": {"lib/base", "lib/gguf"},
    "lib/chat": {"lib/base", "lib/gguf"},
    "lib/model": {"lib/base", "lib/quant", "lib/gguf"},
    "lib/runtime": {"lib/base", "lib/quant", "lib/gguf", "lib/model", "lib/tokenizer", "lib/chat"},
    "lib/cpu": {"lib/base", "lib/quant", "lib/model"},
    "cuda": {"lib/base", "lib/quant", "lib/model"},
    "capi": set(),
    "examples": set(),
}
# single headers that an area may see in another one that is closed to it
ALSO = {"lib/cpu": {"lib/runtime/backend.hpp"}, "cuda": {"lib/runtime/backend.hpp"}}

# <...> headers that are neither the standard library, the system nor inlay's own, and who may use them
THIRD_PARTY = {
    r"pcre2\.h": {"lib/tokenizer"},
    r"CLI/.*|nlohmann/.*": {"examples"},
    r"\w*intrin\.h|arm_neon\.h|cpuid\.h": {"lib/cpu"},
    r"cuda.*|cooperative_groups.*|mma\.h|cub/.*|nvrtc.*": {"cuda"},
}
# the system's C headers, which public headers do without
SYSTEM = re.compile(r"(sys|linux)/\w+\.h|[a-z]+\.h")
C_STANDARD = {"stddef.h", "stdint.h"}

SOURCE_SUFFIXES = {".c", ".h", ".cpp", ".hpp", ".inl", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def area_of(path):
    """'lib/gguf' for lib/gguf/reader.cpp, 'capi' for capi/call.hpp."""
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "lib" else parts[0]


def resolve(root, source, name):
    """The project file that a quoted include names, as a path below root, or None."""
    for base in (root / source).parent, root / "lib", root / "cuda", root:
        candidate = (base / name).resolve()
        if candidate.is_file() and candidate.is_relative_to(root):
            return candidate.relative_to(root).as_posix()
    return None


def check_quoted(root, source, name):
    area = area_of(source)
    target = resolve(root, source, name)
    if target is None:
        return f'"{name}" is no file of the project'
    other = area_of(target)
    if area == other or other in MAY_SEE[area] or target in ALSO.get(area, set()):
        return None
    return f"{area} must not see {target}"


def check_angled(root, source, name):
    area = area_of(source)
    if name == "inlay.h" or name.startswith("inlay/"):
        return None if (root / "include" / name).is_file() else f"<{name}> is no public header"
    for pattern, areas in THIRD_PARTY.items():
        if re.fullmatch(pattern, name):
            return None if area in areas else f"{area} must not see <{name}>"
    if area == "include" and (SYSTEM.fullmatch(name) and name not in C_STANDARD or "/" in name):
        return f"a public header must not see <{name}>"
    if "/" in name and not SYSTEM.fullmatch(name):
        return f"<{name}>: not a known library; add it to THIRD_PARTY with the folders that may use it"
    return None


def check(root):
    """All violations as 'file:line: reason', and the number of includes looked at."""
    root = root.resolve()
    violations, count = [], 0
    for folder in sorted({area.split("/")[0] for area in MAY_SEE}):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SOURCE_SUFFIXES:
                continue
            source = path.relative_to(root).as_posix()
            if area_of(source) not in MAY_SEE:
                violations.append(f"{source}: the folder {area_of(source)} has no row in check_includes.py")
                continue
            text = path.read_text(encoding="utf-8")
            for match in INCLUDE.finditer(text):
                count += 1
                check_one = check_quoted if match[1] == '"' else check_angled
                if reason := check_one(root, source, match[2]):
                    line = text.count("\n", 0, match.start(2)) + 1
                    violations.append(f"{source}:{line}: {reason}")
    return violations, count


CLEAN = {
    "include/inlay.h": "#include <stdint.h>\n",
    "include/inlay/a.hpp": "#include <vector>\n#include <inlay/b.hpp>\n",
    "include/inlay/b.hpp": "",
    "lib/base/base.hpp": "#include <sys/mman.h>\n",
    "lib/gguf/gguf.hpp": '#include "base/base.hpp"\n#include <inlay/a.hpp>\n',
    "lib/runtime/backend.hpp": '#include "gguf/gguf.hpp"\n',
    "lib/runtime/session.hpp": "",
    "lib/tokenizer/bpe.cpp": "#include <pcre2.h>\n",
    "lib/cpu/step.cpp": '#include "runtime/backend.hpp"\n#include <immintrin.h>\n',
    "cuda/pool.cuh": "#include <cuda_runtime.h>\n",
    "capi/call.hpp": "#include <inlay.h>\n",
    "capi/c.cpp": '#include "call.hpp"\n',
    "examples/run/main.cpp": "#include <CLI/CLI.hpp>\n#include <inlay/a.hpp>\n",
}
SEEDED = [
    ("include/inlay/a.hpp", "#include <unistd.h>\n"),
    ("include/inlay/a.hpp", '#include "base/base.hpp"\n'),
    ("include/inlay/a.hpp", "#include <inlay/none.hpp>\n"),
    ("lib/base/base.hpp", '#include "gguf/gguf.hpp"\n'),
    ("lib/gguf/gguf.hpp", '#include "runtime/backend.hpp"\n'),
    ("lib/gguf/gguf.hpp", '#include "../runtime/backend.hpp"\n'),
    ("lib/runtime/session.hpp", '#include "cpu/step.cpp"\n'),
    ("lib/runtime/session.hpp", "#include <pcre2.h>\n"),
    ("lib/cpu/step.cpp", '#include "runtime/session.hpp"\n'),
    ("lib/cpu/step.cpp", '#include "pool.cuh"\n'),
    ("lib/cpu/step.cpp", "#include <cuda_runtime.h>\n"),
    ("cuda/pool.cuh", '#include "cpu/step.cpp"\n'),
    ("capi/c.cpp", '#include "base/base.hpp"\n'),
    ("examples/run/main.cpp", '#include "base/base.hpp"\n'),
    ("examples/run/main.cpp", '  #  include "../../capi/call.hpp"\n'),
    ("lib/base/base.hpp", "#include <boost/any.hpp>\n"),
    ("lib/new_folder/a.cpp", "#include <vector>\n"),
]


def write_tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        write_tree(pathlib.Path(folder), CLEAN)
        violations, count = check(pathlib.Path(folder))
        assert not violations and count > 10, violations
    for name, text in SEEDED:
        with tempfile.TemporaryDirectory() as folder:
            write_tree(pathlib.Path(folder), {**CLEAN, name: CLEAN.get(name, "") + text})
            violations, _ = check(pathlib.Path(folder))
            assert len(violations) == 1 and name in violations[0], (name, text, violations)
    print(f"{len(SEEDED)} seeded violations noticed, a clean tree accepted")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    violations, count = check(pathlib.Path(sys.argv[1]))
    print("\n".join(violations) or f"{count} includes point the right way")
    return 1 if violations or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
