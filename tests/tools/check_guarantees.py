#!/usr/bin/env python3
"""Checks that include/guarantees.md names tests that exist: check_guarantees.py PAGE TESTS_FOLDER CTEST BUILD [--cuda]

In the last column of its tables, `name` is a test of ctest and "title" a case of the program named before it.
"""
import json
import pathlib
import re
import subprocess
import sys

REFERENCE = re.compile(r'`([^`]+)`|"([^"]+)"')
NEEDS_CUDA = {"test_cuda"}
CASE = re.compile(r'TEST_CASE(?:_FIXTURE\(\s*\w+,|\()\s*"((?:[^"\\]|\\.)*)"')


def last_cells(page):
    """(line number, text) of the last column, without the heads of the tables."""
    for number, line in enumerate(page.splitlines(), 1):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[-1] not in ("Tests", "---"):
            yield number, cells[-1]


def check(page, tests, cases):
    """All violations, and the number of references."""
    violations, count = [], 0
    for number, cell in last_cells(page):
        found = REFERENCE.findall(cell)
        count += len(found)
        if not found:
            violations.append(f"line {number}: a promise without a test")
        for test, case in found:
            if test and test not in tests:
                violations.append(f"line {number}: ctest has no test {test}")
            if case and case not in cases:
                violations.append(f'line {number}: no test program has a case "{case}"')
    return violations, count


def self_test():
    page = '| Promise | What | Tests |\n| --- | --- | --- |\n| a | `b` | {} |\n'
    for cell, wanted in ("`real`", 0), ('`real` "case"', 0), ("`none`", 1), ('`real` "none"', 1), ("words", 1):
        violations, _ = check(page.format(cell), {"real"}, {"case"})
        assert len(violations) == wanted, (cell, violations)


def main():
    self_test()
    page, folder, ctest, build, *cuda = sys.argv[1:]
    shown = subprocess.run([ctest, "--test-dir", build, "--show-only=json-v1"], check=True, capture_output=True)
    tests = {test["name"] for test in json.loads(shown.stdout)["tests"]} | (NEEDS_CUDA if not cuda else set())
    sources = pathlib.Path(folder).rglob("*.cpp")
    cases = {case for path in sources for case in CASE.findall(path.read_text(encoding="utf-8"))}
    violations, count = check(pathlib.Path(page).read_text(encoding="utf-8"), tests, cases)
    print("\n".join(violations) or f"{count} tests and cases are there, of {len(tests)} tests and {len(cases)} cases")
    return 1 if violations or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
