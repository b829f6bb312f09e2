"""The picture of the rooms, drawn from the code's imports: `python -m tools.architecture`.

It writes docs/architecture.svg; a test fails when the picture no longer shows the code. A room is a
package; an arrow from A to B says that A imports B, left out where it follows from two others.
"""

from __future__ import annotations

import ast
import html
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "architecture.svg"
PACKAGES = ("engine", "writers", "benchmarks")
BASE = (  # of engine
    "errors", "signals", "escaping", "atomic", "files", "seal", "output", "columns", "statistics",
    "parser",
)  # fmt: skip
COMMANDS = ("train", "launch", "rank", "evaluate", "show")
TEXTS = {
    "engine base": "Errors and exit codes, signals, atomic files, statistics, text tables.",
    "engine commands": "engine.train, engine.launch (several processes) and engine.evaluate.",
    "benchmarks.tables": "Runs as pandas tables.",
}
COLOURS = {"engine": "#dbeafe", "writers": "#dcfce7", "benchmarks": "#fef3c7"}
WIDTH, BOX, HIGH, GAP, NARROW, STORY = 1180, 200, 74, 24, 30, 112

Graph = dict[str, set[str]]
Point = tuple[float, float]


def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    files = (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    return {name.removesuffix(".__init__"): file for name, file in names.items()}


def imports(file: Path, known: Mapping[str, Path]) -> set[str]:
    """The known modules that `file` imports, also inside functions."""
    result = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [(alias.name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [(f"{node.module}.{alias.name}", node.module) for alias in node.names]
        else:
            continue
        result |= {full if full in known else module for full, module in names}
    return result & known.keys()


def room_of(module: str) -> str | None:
    """The room that a module lies in; None for `engine/commands.py`, which only starts others."""
    package, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    if package == "writers":
        return package
    if package == "engine":
        if first in BASE or not first:
            return "engine base"
        if first in COMMANDS:
            return "engine commands"
        return None if first == "commands" else f"engine.{first}"
    return f"{package}.{first}" if first else None


def rooms() -> Graph:
    """Which rooms each room imports."""
    known = modules()
    graph: Graph = {}
    for module, file in known.items():
        room = room_of(module)
        if room is not None:
            others = {room_of(each) for each in imports(file, known)} - {room, None}
            graph.setdefault(room, set()).update(str(each) for each in others)
    return graph


def reduced(graph: Graph) -> Graph:
    """Without the arrows that follow from two others; a circle is an error."""
    below: Graph = {}
    for room in TopologicalSorter(graph).static_order():
        below[room] = graph[room].union(*(below[other] for other in graph[room]))
    return {
        room: {each for each in others if not any(each in below[other] for other in others)}
        for room, others in graph.items()
    }


def floors(graph: Graph) -> list[list[str]]:
    """Rooms by floor, the highest first: each stands below all that import it."""
    level: dict[str, int] = {}
    for room in reversed([*TopologicalSorter(graph).static_order()]):
        importers = (other for other in graph if room in graph[other])
        level[room] = max((1 + level[other] for other in importers), default=0)
    numbers = range(max(level.values()) + 1)
    return [sorted(room for room in graph if level[room] == number) for number in numbers]


def text_of(room: str) -> str:
    """The first line of the package's docstring."""
    if room in TEXTS:
        return TEXTS[room]
    source = ROOT.joinpath(*room.split("."), "__init__.py").read_text(encoding="utf-8")
    return (
        (ast.get_docstring(ast.parse(source)) or "")
        .partition("\n")[0]
        .partition(": `")[0]
        .replace("`", "")
    )


def places(graph: Graph) -> tuple[dict[str, Point], list[list[Point]]]:
    """Where each room stands, and the points of each arrow, which passes between the rooms."""
    stories = floors(graph)
    floor_of = {room: number for number, floor in enumerate(stories) for room in floor}
    arrows = [(a, b) for a in sorted(graph) for b in sorted(graph[a])]
    passing = {  # a name for each place where an arrow crosses a floor
        (a, b, floor): f"{a} > {b} > {floor}"
        for a, b in arrows
        for floor in range(floor_of[a] + 1, floor_of[b])
    }
    above: dict[str, list[str]] = {}
    for a, b in arrows:
        chain = [a, *(passing[a, b, n] for n in range(floor_of[a] + 1, floor_of[b])), b]
        for upper, lower in itertools.pairwise(chain):
            above.setdefault(lower, []).append(upper)
    place: dict[str, Point] = {}
    for number, rooms_here in enumerate(stories):
        row = [*rooms_here, *(name for (_, _, floor), name in passing.items() if floor == number)]
        row.sort(key=lambda name: (_middle(place, above.get(name, [])), name))
        wide = [BOX + GAP if name in floor_of else NARROW for name in row]
        left = (WIDTH - sum(wide)) / 2
        for name, width in zip(row, wide, strict=True):
            place[name] = left + width / 2, 50 + number * STORY
            left += width
    paths = []
    for a, b in arrows:
        points = [(place[a][0], place[a][1] + HIGH)]
        for floor in range(floor_of[a] + 1, floor_of[b]):
            x, y = place[passing[a, b, floor]]
            points += [(x, y), (x, y + HIGH)]
        paths.append([*points, (place[b][0], place[b][1] - 2)])
    return {room: place[room] for room in floor_of}, paths


def _middle(place: Mapping[str, Point], names: Sequence[str]) -> float:
    return sum(place[name][0] for name in names) / len(names) if names else 0.0


def svg() -> str:
    """The whole picture."""
    graph = reduced(rooms())
    place, paths = places(graph)
    height = 60 + len(floors(graph)) * STORY
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="system-ui, sans-serif" role="img">',
            "<title>The rooms of the project; an arrow points to what is imported</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#64748b"/></marker>'
            "</defs>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *map(_arrow, paths),
            *(_box(room, *place[room]) for room in sorted(place)),
            "</svg>\n",
        ]
    )


def _arrow(points: Sequence[Point]) -> str:
    parts = [f"M{points[0][0]:.0f} {points[0][1]:.0f}"]
    for (x, y), (u, v) in itertools.pairwise(points):
        bend = (v - y) / 2
        parts.append(f"C{x:.0f} {y + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} {v:.0f}")
    return f'<path d="{" ".join(parts)}" fill="none" stroke="#94a3b8" marker-end="url(#tip)"/>'


def _box(room: str, x: float, y: float) -> str:
    left, colour = x - BOX / 2, COLOURS[room.split(".")[0].split(" ")[0]]
    lines = textwrap.wrap(text_of(room), 34)[:3]
    words = "".join(
        f'<text x="{x:.0f}" y="{y + 36 + 14 * number:.0f}" font-size="11" fill="#334155">'
        f"{html.escape(line)}</text>"
        for number, line in enumerate(lines)
    )
    return (
        f'<g text-anchor="middle"><rect x="{left:.0f}" y="{y:.0f}" width="{BOX}" height="{HIGH}" '
        f'rx="6" fill="{colour}" stroke="#475569"/><text x="{x:.0f}" y="{y + 19:.0f}" '
        f'font-size="14" font-weight="600" fill="#0f172a">{html.escape(room)}</text>{words}</g>'
    )


def main(argv: Sequence[str] = ()) -> int:
    """Write the picture."""
    TARGET.write_text(svg(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
