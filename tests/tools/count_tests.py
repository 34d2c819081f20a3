#!/usr/bin/env python3
"""Prints "N passed, N failed, N skipped" for a JUnit file that ctest wrote; fails unless some passed and none failed.

A doctest or unittest program counts with the cases that it reports, every other test as one.
"""
import io
import re
import sys
import xml.etree.ElementTree

DOCTEST = re.compile(r"test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed\s*\|\s*(\d+) skipped")
UNITTEST = re.compile(r"^Ran (\d+) tests? in .*\s+(?:OK|FAILED)(?: \((.*)\))?$", re.MULTILINE)


def cases_in(output):
    """(passed, failed, skipped) from the summary of a test program, or None."""
    if match := DOCTEST.search(re.sub(r"\x1b\[[0-9;]*m", "", output)):
        return tuple(int(number) for number in match.groups()[1:])
    if match := UNITTEST.search(output):
        details = dict(re.findall(r"(\w+)=(\d+)", match[2] or ""))
        failed, skipped = (sum(int(details.get(name, 0)) for name in names)
                           for names in (("failures", "errors"), ("skipped",)))  # fmt: skip
        return int(match[1]) - failed - skipped, failed, skipped
    return None


def count(case):
    """(passed, failed, skipped) of one ctest test."""
    failed = case.find("failure") is not None or case.get("status") == "fail"
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        return 0, 0, 1
    summary = cases_in(case.findtext("system-out") or "")
    if summary is None:
        return int(not failed), int(failed), 0
    # a program may also fail after its summary, in a leak check for instance
    return summary[0], max(summary[1], int(failed)), summary[2]


def count_file(source):
    cases = xml.etree.ElementTree.parse(source).getroot().iter("testcase")
    return tuple(sum(column) for column in zip((0, 0, 0), *map(count, cases)))


SAMPLE = """<testsuite>
<testcase status="run"><system-out>[doctest] test cases:  9 |  6 passed | 2 failed | 1 skipped</system-out></testcase>
<testcase status="run"><system-out>Ran 5 tests in 1.0s\n\nFAILED (failures=1, errors=1, skipped=1)</system-out></testcase>
<testcase status="run"><system-out>Ran 3 tests in 1.0s\n\nOK</system-out></testcase>
<testcase status="run"><system-out>done</system-out></testcase>
<testcase status="fail"><failure/><system-out>test cases: 4 | 4 passed | 0 failed | 0 skipped</system-out></testcase>
<testcase status="fail"><failure/></testcase>
<testcase status="notrun"><skipped/></testcase>
</testsuite>"""


def self_test():
    assert count_file(io.StringIO(SAMPLE)) == (16, 6, 3), count_file(io.StringIO(SAMPLE))
    print("a sample report is counted")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    try:
        passed, failed, skipped = count_file(sys.argv[1])
    except OSError as error:
        print(f"count_tests.py: {error}", file=sys.stderr)
        passed, failed, skipped = 0, 1, 0
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if passed > 0 and failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
