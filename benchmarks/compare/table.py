"""The comparison as a Markdown table. Works on the document that --json writes."""
import pathlib
from typing import Any

HEADING = ["model", "threads", "test", "inlay", "llama.cpp", "ratio", "of the rounds", "bandwidth inlay", "llama.cpp"]
RIGHT = {1, 3, 4, 5, 6, 7, 8}


def test_name(cell: dict[str, Any]) -> str:
    if cell["phase"] == "first token":
        return f"open to first token, {cell['tokens']}-token prompt"
    depth = f" at depth {cell['depth']}" if cell["phase"] == "decode" else ""
    return f"{cell['phase']} {cell['tokens']}{depth}"


def short_model(path: str) -> str:
    return pathlib.PurePath(path).stem


def speed(cell: dict[str, Any], engine: str) -> str:
    """Tokens a second; milliseconds to the first token."""
    if engine in cell["errors"]:
        return cell["errors"][engine].splitlines()[0][:60]
    seconds = cell["median_seconds"][engine]
    if cell["phase"] == "first token":
        return f"{1000 * seconds:.0f} ms"
    rate = cell["tokens"] / seconds
    return f"{rate:.0f} tok/s" if rate >= 1000 else f"{rate:.1f} tok/s"


def share(cell: dict[str, Any], engine: str) -> str:
    shares = cell.get("bandwidth_share", {})
    return f"{100 * shares[engine]:.0f} %" if engine in shares else ""


def row(cell: dict[str, Any]) -> list[str]:
    ratio, rounds = "", ""
    if "ratio" in cell:
        ratio = f"{cell['ratio']:.2f}"
        rounds = f"{min(cell['round_ratios']):.2f} - {max(cell['round_ratios']):.2f}"
    return [short_model(cell["model"]), str(cell["threads"]), test_name(cell), speed(cell, "inlay"),
            speed(cell, "llama.cpp"), ratio, rounds, share(cell, "inlay"), share(cell, "llama.cpp")]  # fmt: skip


def aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(cells: list[str]) -> str:
        sides = [str.rjust if i in RIGHT else str.ljust for i in range(len(cells))]
        padded = [side(text, width) for side, text, width in zip(sides, cells, widths, strict=True)]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if i in RIGHT else "-") for i, width in enumerate(widths)) + "|"
    return [line(rows[0]), rule, *(line(cells) for cells in rows[1:])]


def to_markdown(document: dict[str, Any]) -> str:
    machine, versions = document["machine"], document["versions"]
    bandwidth = ", ".join(
        f"{gigabytes:.1f} GB/s with {threads} thread{'s' * (threads != '1')}"
        for threads, gigabytes in document["read_bandwidth"].items()
    )
    lines = [
        f"inlay {versions['inlay']} ({document['features'].get('inlay', '?')}) against llama.cpp of llama-cpp-python "
        f"{versions['llama.cpp']}, {document['isa'] or 'native'} build",
        f"on {machine['cpu']}, {machine['cores']} cores, {machine['system']}; read bandwidth {bandwidth}",
        f"medians of {document['rounds']} rounds; a ratio above 1: inlay is faster; llama.cpp with and without flash "
        "attention, the better of the two",
        "",
    ]
    return "\n".join(lines + aligned([HEADING, *(row(cell) for cell in document["cells"])]))
