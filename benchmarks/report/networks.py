"""The networks of the runs, each drawn once however many runs have it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from benchmarks.records.runs import RunRecord
from benchmarks.report.plots.style import INK, MUTED, PAPER, themed
from engine.config.schema import from_dict
from engine.errors import UserError
from engine.model import resolve
from engine.model.drawing import GREY, drawing
from engine.model.drawing import INK as DRAWN_INK


@dataclass(frozen=True)
class Network:
    """A drawing as a symbol that many places of a page can show."""

    id: str
    title: str
    size: str  # as viewBox
    symbol: Markup


MEANINGLESS = (  # what settings of a wrong type or size can raise
    UserError, ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip


def networks(runs: Sequence[RunRecord]) -> dict[str, Network]:
    """By folder, the networks of the runs whose records describe one."""
    drawn: dict[str, Network] = {}  # by drawing
    result = {}
    for run in runs:
        svg = _drawing(run)
        if svg:
            result[run.folder] = drawn.setdefault(svg, _network(svg, f"network-{len(drawn)}"))
    return result


def _drawing(run: RunRecord) -> str:
    classes, side = run.record.get("classes"), run.record.get("image_side")
    if not isinstance(classes, list) or not isinstance(side, int):
        return ""
    try:
        variant = resolve(from_dict(dict(run.record["config"])).model)
        return drawing(variant, len(classes), side, run.name)
    except MEANINGLESS:
        return ""  # of another version, or damaged: the run's settings are shown all the same


def _network(svg: str, name: str) -> Network:
    """The drawing in the colours of the page's theme, its ids unique on the page."""
    for own, ours in ((DRAWN_INK, INK), (GREY, MUTED), ("#ffffff", PAPER)):
        svg = svg.replace(own, ours)
    svg = themed(svg).replace('id="', f'id="{name}-').replace("url(#", f"url(#{name}-")
    opening, title, body = re.split(r"<title>(.*?)</title>", svg, maxsplit=1, flags=re.DOTALL)[:3]
    size = re.search(r'viewBox="([^"]*)"', opening)
    assert size is not None  # ours
    symbol = f'<symbol id="{name}" viewBox="{size[1]}"><g font-size="11" fill="var(--ink)">{body}'
    return Network(
        name, str(Markup(title).unescape()), size[1],
        Markup(symbol.replace("</svg>", "</g></symbol>")),  # `drawing` escapes the network's name
    )  # fmt: skip
