#!/usr/bin/env python3
"""Prints "N passed, N failed, N skipped" for a JUnit file that ctest wrote; fails unless some passed and none failed.

A doctest program counts with the cases that it reports, every other test as one.
"""
import re
import sys
import xml.etree.ElementTree

CASES = re.compile(r"test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed\s*\|\s*(\d+) skipped")


def count(case):
    """(passed, failed, skipped) of one ctest test."""
    failed = case.find("failure") is not None or case.get("status") == "fail"
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        return 0, 0, 1
    summary = CASES.search(re.sub(r"\x1b\[[0-9;]*m", "", case.findtext("system-out") or ""))
    if summary is None:
        return int(not failed), int(failed), 0
    passed_cases, failed_cases, skipped_cases = (int(number) for number in summary.groups()[1:])
    if failed:  # a program may also fail after its summary, in a leak check for instance
        failed_cases = max(failed_cases, 1)
    return passed_cases, failed_cases, skipped_cases


def main():
    try:
        cases = xml.etree.ElementTree.parse(sys.argv[1]).getroot().iter("testcase")
    except OSError as error:
        print(f"count_tests.py: {error}", file=sys.stderr)
        cases = []
    passed, failed, skipped = (sum(column) for column in zip((0, 0, 0), *map(count, cases)))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if passed > 0 and failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
