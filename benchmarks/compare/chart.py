"""The comparison as a bar chart in SVG that is readable on light and on dark pages. Works on the document of --json."""
from typing import Any
from xml.sax.saxutils import escape

from .table import share, short_model, speed, test_name

WIDTH = 900
LABEL_WIDTH, BAR_WIDTH = 200, 300
ROW_HEIGHT, BAR_HEIGHT, GROUP_HEIGHT, HEAD_HEIGHT, FOOT_HEIGHT = 26, 16, 34, 62, 34

STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.page { fill: #ffffff }
.title { font-size: 17px; font-weight: 600 }
.group { font-weight: 600 }
.small { font-size: 12px; fill: #59636e }
.faster { fill: #1a7f64 } .slower { fill: #bc6c25 }
.ratio { font-weight: 600 }
.grid { stroke: #d1d9e0; stroke-width: 1 } .one { stroke: #59636e; stroke-width: 1.5; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117 } text { fill: #e6edf3 } .small { fill: #9198a1 }
  .faster { fill: #3fb68b } .slower { fill: #e09f5a }
  .grid { stroke: #3d444d } .one { stroke: #9198a1 }
}
"""


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x: float, top: float, bottom: float, kind: str) -> str:
    return f'<line x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" class="{kind}"/>'


def step_of(largest: float) -> float:
    """A distance of grid lines that gives about five of them."""
    return next((step for step in (0.25, 0.5, 1.0, 2.0, 5.0) if largest / step <= 6), 10.0)


def groups_of(cells: list[dict[str, Any]]) -> list[tuple[tuple[str, int], list[dict[str, Any]]]]:
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["model"], cell["threads"]), []).append(cell)
    return list(groups.items())


def label(cell: dict[str, Any]) -> str:
    return "first token after open" if cell["phase"] == "first token" else test_name(cell)


def remark(cell: dict[str, Any]) -> str:
    own, unit = speed(cell, "inlay").split()
    words = f"{own} vs {speed(cell, 'llama.cpp').split()[0]} {unit}"
    return words + (f", {share(cell, 'inlay')} of the bandwidth" if share(cell, "inlay") else "")


def bar(cell: dict[str, Any], y: float, scale: float) -> list[str]:
    parts = [text(LABEL_WIDTH - 10, y + 12.5, label(cell), anchor="end")]
    if "ratio" not in cell:
        failed = " and ".join(f"{engine}: {speed(cell, engine)}" for engine in cell["errors"])
        return [*parts, text(LABEL_WIDTH + 6, y + 12.5, failed, "small")]
    width = cell["ratio"] * scale
    kind = "faster" if cell["ratio"] >= 1 else "slower"
    place = f'x="{LABEL_WIDTH}" y="{y:.1f}" width="{width:.1f}" height="{BAR_HEIGHT}"'
    parts.append(f'<rect {place} rx="2" class="{kind}"/>')
    after = LABEL_WIDTH + BAR_WIDTH + 8
    parts.append(text(after + 46, y + 12.5, f"{cell['ratio']:.2f}x", "ratio", "end"))
    parts.append(text(after + 56, y + 12.5, remark(cell), "small"))
    return parts


def grid(largest: float, scale: float, top: float, bottom: float) -> list[str]:
    step = step_of(largest)
    ratios = [i * step for i in range(int(largest / step + 1e-9) + 1)]
    lines = [line(LABEL_WIDTH + ratio * scale, top, bottom, "grid") for ratio in ratios]
    return lines + [line(LABEL_WIDTH + scale, top, bottom, "one")]


def axis(largest: float, scale: float, y: float) -> list[str]:
    step = step_of(largest)
    ratios = [i * step for i in range(int(largest / step + 1e-9) + 1)]
    return [text(LABEL_WIDTH + ratio * scale, y, f"{ratio:g}x", "small", "middle") for ratio in ratios]


def to_svg(document: dict[str, Any]) -> str:
    groups = groups_of(document["cells"])
    n_rows = sum(len(cells) for _, cells in groups)
    bottom = HEAD_HEIGHT + GROUP_HEIGHT * len(groups) + ROW_HEIGHT * n_rows
    height = bottom + FOOT_HEIGHT
    largest = 1.1 * max([cell["ratio"] for cell in document["cells"] if "ratio" in cell] + [1.0])
    scale = BAR_WIDTH / largest
    machine = document["machine"]
    title = f"Speed of inlay relative to llama.cpp ({document['isa'] or 'both built for this CPU'})"
    subtitle = f"{machine['cpu']}, {machine['cores']} cores; median of {document['rounds']} rounds; longer is faster"
    # A page of its own, for viewers that show a dark page and do not tell the picture.
    parts = [f'<rect width="{WIDTH}" height="{height}" rx="6" class="page"/>']
    parts += [text(16, 26, title, "title"), text(16, 46, subtitle, "small")]
    parts.append(text(LABEL_WIDTH + BAR_WIDTH + 64, HEAD_HEIGHT + 23, "inlay vs llama.cpp", "small"))
    y = float(HEAD_HEIGHT)
    for (model, threads), cells in groups:
        heading = f"{short_model(model)}, {threads} thread{'s' * (threads != 1)}"
        parts.append(text(16, y + 23, heading, "group"))
        y += GROUP_HEIGHT
        parts += grid(largest, scale, y, y + ROW_HEIGHT * len(cells))
        for cell in cells:
            parts += bar(cell, y + (ROW_HEIGHT - BAR_HEIGHT) / 2, scale)
            y += ROW_HEIGHT
    parts += axis(largest, scale, bottom + 16)
    parts.append(text(WIDTH - 16, bottom + 16, "dashed line: as fast as llama.cpp", "small", "end"))
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", *parts, "</svg>", ""])
