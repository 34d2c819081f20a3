#!/usr/bin/env python3
"""Makes the packages of a release with cpack, looks at what they say and hold, unpacks them and uses them from there.

The .deb packages are unpacked into a folder, not installed. The .tar.gz must hold the same files.
"""
import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import sys
import tarfile

from check_consumer import check_consumers, consumer_arguments
from toolchain import run

SKIPPED = 77
SHARED_NEEDS = {"libc6", "libgcc-s1", "libpcre2-8-0", "libstdc++6"}
# package, by the beginning of its name: what it depends on, and a file that shows what it is for
PACKAGES = {
    "libinlay-dev": ({"libinlay", "libpcre2-dev"}, r"include/inlay\.h"),
    "libinlay-c": (SHARED_NEEDS, r"lib/(?:[\w-]+/)?libinlay_c\.so\.\d+"),
    "libinlay": (SHARED_NEEDS, r"lib/(?:[\w-]+/)?libinlay\.so\.\d+\.\d+"),
    "inlay-tools": (SHARED_NEEDS, r"bin/inlay-run"),
}


def make_packages(options, folder):
    run(options.cpack, "--config", pathlib.Path(options.build, "CPackConfig.cmake"), "-B", folder,
        "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip", "-D", "CPACK_THREADS=1")  # fmt: skip
    shutil.rmtree(folder / "_CPack_Packages")
    return sorted(folder.iterdir())


def field(package, name):
    return run("dpkg-deb", "--field", package, name).strip()


def check_deb(path, root):
    """Looks at one package, unpacks it and returns its row of PACKAGES."""
    name = field(path, "Package")
    row = next(row for row in PACKAGES if name.startswith(row))
    needs, file = PACKAGES[row]
    depends = field(path, "Depends")
    missing = [need for need in needs if not re.search(rf"(?:^|, ){re.escape(need)}", depends)]
    listing = run("dpkg-deb", "--contents", path)
    if missing or not re.search(rf"\./usr/{file}(?: -> .*)?$", listing, re.MULTILINE):
        raise SystemExit(f"{path.name}: depends on {depends!r}, without {missing}; {file} expected in\n{listing}")
    for required in "Version", "Architecture", "Maintainer", "Description", "Section":
        if not field(path, required):
            raise SystemExit(f"{path.name} has no field {required}")
    print(f"{path.name}: {path.stat().st_size} bytes, {name} {field(path, 'Version')}, depends on {depends}")
    run("dpkg-deb", "--extract", path, root)
    return row


def contents(folder):
    """Path to a hash of the file, or the link's target, for everything below the folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[path.relative_to(folder).as_posix()] = os.readlink(path)
        elif path.is_file():
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def check_archive(path, root, folder):
    with tarfile.open(path) as archive:
        archive.extractall(folder)
    (top,) = folder.iterdir()
    in_archive, in_packages = contents(top), contents(root)
    if in_archive != in_packages:
        different = sorted(set(in_archive.items()) ^ set(in_packages.items()))
        raise SystemExit(f"{path.name} and the .deb packages differ in {different}")
    print(f"{path.name}: {path.stat().st_size} bytes, the same {len(in_archive)} files:", *in_archive, sep="\n  ")


def check_port(path, version):
    """The vcpkg port cannot read the version from the sources, as the others do."""
    port = json.loads(path.read_text(encoding="utf-8"))
    if port["version"] != version:
        raise SystemExit(f"{path}: version {port['version']}, and the packages have {version}")


def main():
    parser = argparse.ArgumentParser()
    consumer_arguments(parser)
    for name in "cpack", "build":
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    for tool, package in ("dpkg-shlibdeps", "dpkg-dev"), ("file", "file"):
        if not shutil.which(tool):
            print(f"skipped: no {tool} here (Debian: {package})")
            return SKIPPED
    work = pathlib.Path(options.work)
    shutil.rmtree(work, ignore_errors=True)
    root = work / "root"
    root.mkdir(parents=True)

    made = make_packages(options, work / "made")
    debs, (archive,) = ([path for path in made if path.name.endswith(end)] for end in (".deb", ".tar.gz"))
    rows = [check_deb(path, root) for path in debs]
    if sorted(rows) != sorted(PACKAGES):
        raise SystemExit(f"the packages are {made}")
    check_port(pathlib.Path(options.source, "../../cmake/packaging/vcpkg/vcpkg.json"), field(debs[0], "Version"))
    check_archive(archive, root / "usr", work / "archive")
    for program in "inlay-run", "inlay-bench", "inlay-quantize":
        print(run(root / "usr/bin" / program, "--version"), end="")

    # never /usr: the programs use the packages from where they lie, by another name than while they were made
    moved = (work / "root").rename(work / "moved")
    options.installed, options.work = moved / "usr", work / "consumers"
    options.folder += ["/usr/local", str(work)]
    check_consumers(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
