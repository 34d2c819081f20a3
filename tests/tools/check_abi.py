#!/usr/bin/env python3
"""Holds the C library to the baseline of its ABI in capi/abi/.

--library FILE --headers DIR    check the library, which needs debug information, and inlay.h against the baseline
... --renew                     write the baseline anew from them
... --self-test CXX             prove with small libraries that every kind of break is noticed, and no addition is

The baseline is a copy of inlay.h, the list of exported symbols, and the types of all functions as abidw sees them.
Additions are new functions, new numbers, and fields behind the end of a struct that begins with struct_size: the
library looks at no byte behind the size that its caller knows. abidiff cannot be told this exactly (a suppression of
what is inserted at the end hides other changes of the struct, too), so the fields are taken out of what it compares.
The rest must not change at all: abidiff calls a field's new name harmless, but that is how a swapped field looks.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

SKIPPED = 77
HELP = """The ABI differs from its baseline in capi/abi/. Programs built with an older inlay.h would break.
If this is not wanted, keep what was there and add the new thing beside it. Before release 1.0 a break is possible:
run capi/abi/renew.sh, and say in CHANGELOG.md what breaks and why. After release 1.0 it is not."""
DECLARATION = re.compile(r"^INLAY_C_API ([^;{]*?\binlay_\w+\([^;{]*\));", re.MULTILINE)
# of abidiff's exit status: the report is in the lowest two if it could not be made
FAILED, CHANGED = 1 | 2, 4


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout


def exported(nm, library):
    """Every exported symbol with its version, as lines."""
    lines = run(nm, "-D", "--defined-only", library).splitlines()
    return sorted(line.split()[2] for line in lines if line.split()[1] in "TWDBRVi")


def constants(header):
    """Name to value of the enumerators and numeric macros; every enumerator states its number."""
    plain = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    found = dict(re.findall(r"^#define (INLAY_\w+) (\d+)$", plain, re.MULTILINE))
    for body in re.findall(r"\benum\s*\w*\s*\{(.*?)\}", plain, re.DOTALL):
        for item in filter(None, map(str.strip, body.split(","))):
            name, number = re.fullmatch(r"(\w+)\s*=\s*(-?\d+)", item).groups()
            found[name] = number
    return found


def has_types(library):
    """Whether the debug information goes beyond line numbers."""
    return "DW_TAG_member" in run("readelf", "--debug-dump=abbrev", library)


def describe(headers, library):
    """The exported functions and their types, as XML; what the header does not define is opaque."""
    header = (headers / "inlay.h").resolve()  # abidw finds nothing behind a relative path
    text = run("abidw", "--exported-interfaces-only", "--header-file", header, "--drop-private-types",
               "--no-elf-needed", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", library)  # fmt: skip
    if "<data-member" not in text:
        raise SystemExit(f"abidw sees no struct of {header} in {library}")
    return re.sub(r"(<abi-instr [^>]*? path=')[^']*/", r"\1", text)  # the folder of the sources is anyone's


def structs(root):
    """The structs that may grow, by name."""
    found = {}
    for struct in root.iter("class-decl"):
        first = struct.find("data-member/var-decl")
        if first is not None and first.get("name") == "struct_size":
            found[struct.get("name")] = struct
    return found


def without_added_fields(old_description, new_description):
    root = xml.etree.ElementTree.fromstring(new_description)
    old_structs = structs(xml.etree.ElementTree.fromstring(old_description))
    for name, struct in structs(root).items():
        size = old_structs[name].get("size-in-bits") if name in old_structs else struct.get("size-in-bits")
        if int(struct.get("size-in-bits")) > int(size):
            for field in struct.findall("data-member"):
                if int(field.get("layout-offset-in-bits")) >= int(size):
                    struct.remove(field)
            struct.set("size-in-bits", size)
    return xml.etree.ElementTree.tostring(root, encoding="unicode")


def compare_types(old_description, new_description):
    """abidiff's report if there is a difference, or why there is none, as lines."""
    with tempfile.TemporaryDirectory() as name:
        old, new = pathlib.Path(name, "baseline.abi"), pathlib.Path(name, "library.abi")
        old.write_text(old_description, encoding="utf-8")
        new.write_text(without_added_fields(old_description, new_description), encoding="utf-8")
        done = subprocess.run(["abidiff", "--harmless", "--no-added-syms", old, new], capture_output=True, text=True,
                              check=False)  # fmt: skip
    if done.returncode & FAILED or done.returncode < 0:
        yield f"abidiff failed with status {done.returncode}: {done.stderr}"
    elif done.returncode & CHANGED:
        yield done.stdout


def renew(baseline, headers, nm, library):
    baseline.mkdir(exist_ok=True)
    (baseline / "inlay_c.abi").write_text(describe(headers, library), encoding="utf-8")
    (baseline / "symbols.txt").write_text("\n".join(exported(nm, library)) + "\n", encoding="utf-8")
    shutil.copy(headers / "inlay.h", baseline / "inlay.h")


def check(baseline, headers, nm, library):
    """Every break, as lines."""
    old_symbols = (baseline / "symbols.txt").read_text(encoding="utf-8").split()
    new_symbols = exported(nm, library)
    yield from (f"no longer exported: {name}" for name in old_symbols if name not in new_symbols)

    old_constants, new_constants = (
        constants((folder / "inlay.h").read_text(encoding="utf-8")) for folder in (baseline, headers))  # fmt: skip
    for name, number in old_constants.items():
        if new_constants.get(name) != number:
            yield f"{name} was {number} and is {new_constants.get(name, 'gone')}"

    description = (baseline / "inlay_c.abi").read_text(encoding="utf-8")
    yield from compare_types(description, describe(headers, library))
    n_structs = len(structs(xml.etree.ElementTree.fromstring(description)))
    print(f"{len(old_symbols)} symbols, {len(old_constants)} constants and {n_structs} structs of the baseline looked"
          f" for; {len(set(new_symbols) - set(old_symbols))} symbols are newer")  # fmt: skip


def build_stub(folder, header, cxx, version_script):
    """A library with the functions of `header` that do nothing, compiled as C++ like the real one."""
    folder.mkdir()
    (folder / "inlay.h").write_text(header, encoding="utf-8")
    bodies = [f'extern "C" INLAY_C_API {declaration} {"{}" if declaration.startswith("void ") else "{ return {}; }"}'
              for declaration in DECLARATION.findall(header)]  # fmt: skip
    source, library = folder / "stub.cpp", folder / "stub.so"
    source.write_text('#include "inlay.h"\n' + "\n".join(bodies) + "\n", encoding="utf-8")
    run(cxx, "-g", "-fPIC", "-shared", "-w", "-DINLAY_BUILD_SHARED", "-Wl,-soname,libinlay_c.so.1",
        f"-Wl,--version-script={version_script}", source, "-o", library)  # fmt: skip
    return library


# name, expression that is found in inlay.h, what is put in its place, whether that is a break
CHANGES = [
    ("nothing", r"\A", r"", False),
    ("a function more", r"(#ifdef __cplusplus\n\})", r"INLAY_C_API int32_t inlay_new(void);\n\1", False),
    ("a field more at the end", r"(\} inlay_memory_estimate;)", r"uint64_t more;\n\1", False),
    ("a status more", r"INLAY_OK = 0,", r"INLAY_OK = 0, INLAY_NEW = 99,", False),
    ("a function less", r"INLAY_C_API void inlay_session_cancel\(.*;", r"", True),
    ("a parameter more", r"inlay_session_cancel\(", r"inlay_session_cancel(int32_t how, ", True),
    ("a larger parameter", r"(inlay_session_rewind\(.*)int32_t length", r"\1int64_t length", True),
    ("another return type", r"INLAY_C_API uint32_t inlay_abi_version", r"INLAY_C_API uint64_t inlay_abi_version", True),
    ("a field more in the middle", r"uint64_t kv_bytes;", r"uint64_t between; uint64_t kv_bytes;", True),
    ("a field less at the end", r"uint64_t kv_bytes;", r"", True),
    ("fields in another order", r"n_layers;(.*\n.*)embedding_length;", r"embedding_length;\1n_layers;", True),
    ("a field of another type", r"float temperature;", r"int32_t temperature;", True),
    ("a smaller field, and one more at the end", r"uint64_t kv_bytes;", r"uint32_t kv_bytes; uint64_t more;", True),
    ("a field more in the padding", r"int32_t reserved;", r"int16_t reserved; int16_t more;", True),
    ("a longer array", r"char isa\[32\];", r"char isa[64];", True),
    ("another callback", r"(\*inlay_progress_fn\)\(.*)float", r"\1double", True),
    ("another number of a status", r"INLAY_CONTEXT_FULL = 7,", r"INLAY_CONTEXT_FULL = 70,", True),
    ("another name of a flag", r"INLAY_PARSE_SPECIAL = 2,", r"INLAY_PARSE = 2,", True),
    ("another ABI version", r"#define INLAY_ABI_VERSION 1\n", r"#define INLAY_ABI_VERSION 2\n", True),
]


def self_test(options):
    header = (options.headers / "inlay.h").read_text(encoding="utf-8")
    script = options.baseline.parent / "inlay_c.map"
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        stub = build_stub(work / "old", header, options.self_test, script)
        renew(work / "baseline", work / "old", options.nm, stub)
        for number, (change, before, after, is_break) in enumerate(CHANGES):
            changed, found = re.subn(before, after, header, count=1)
            if found != 1:
                raise SystemExit(f"{change}: inlay.h has no {before}")
            new = work / str(number)
            library = build_stub(new, changed, options.self_test, script)
            violations = list(check(work / "baseline", new, options.nm, library))
            if bool(violations) != is_break:
                wrong.append(f"{change}: {violations or 'not noticed'}")
    print("\n".join(wrong) or f"{len(CHANGES)} changes judged as they must be")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser()
    for name, kind in ("baseline", pathlib.Path), ("headers", pathlib.Path), ("nm", str), ("library", str):
        parser.add_argument(f"--{name}", required=True, type=kind)
    parser.add_argument("--renew", action="store_true")
    parser.add_argument("--self-test", metavar="CXX")
    options = parser.parse_args()
    if not shutil.which("abidiff"):
        print("skipped: no abidiff here (Debian: abigail-tools)")
        return SKIPPED
    if options.self_test:
        return self_test(options)
    if not has_types(options.library):
        print("skipped: the library was built without debug information (use the preset dev)")
        return SKIPPED
    if options.renew:
        renew(options.baseline, options.headers, options.nm, options.library)
        return 0
    violations = list(check(options.baseline, options.headers, options.nm, options.library))
    print("\n".join([*violations, HELP] if violations else []))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
