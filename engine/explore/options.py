"""The command line of the explorer: what each option takes, and all that is wrong with it."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.argv import HELP, Flag, scan
from engine.config.wording import did_you_mean, either, number, shown
from engine.errors import UserError
from engine.explore import designs
from engine.explore.designs import Space
from engine.explore.search import OBJECTIVES, WAYS, Objective

LARGEST_GRID = 20_000_000_000  # designs; beyond, hours would pass
USUAL_LIMIT = 20  # designs listed
MOST_VALUES = 256  # of one list
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}

_NUMBER = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e\+?[0-9]{1,2})?)([kmgt]?)", re.IGNORECASE)
_RANGE = re.compile(r"([0-9]{1,6})-([0-9]{1,6})(?::([0-9]{1,6}))?")


@dataclass(frozen=True)
class Asked:
    """What the command is to do."""

    space: Space
    objectives: tuple[Objective, ...]
    runs: Path | None  # None: wherever there are some
    sort: str
    limit: int
    write: int
    out: Path
    json: bool


class Wrong(ValueError):
    """What an option expects."""


class Option(NamedTuple):
    """An option: its name, what stands after it, its explanation and how it is read."""

    name: str
    value: str
    doc: str
    read: Callable[[str], Any]


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        found = _NUMBER.fullmatch(text)
        value = float(found[1].replace(",", "").replace("_", "")) if found else -1.0
        value *= UNITS[found[2].lower()] if found else 1
        if value != value // 1 or not low <= value <= high:
            raise Wrong(f"a whole number, {number(low)} to {number(high)} (5000000, 5M and 5e6 do)")
        return int(value)

    return read


def _wholes(low: int, high: int) -> Callable[[str], tuple[int, ...]]:
    def read(text: str) -> tuple[int, ...]:
        expected = f"whole numbers, {number(low)} to {number(high)}, such as 2,4 or 1-6 or 16-64:16"
        values: set[int] = set()
        for part in text.split(","):
            if found := _RANGE.fullmatch(part.strip()):
                first, last, step = int(found[1]), int(found[2]), int(found[3] or 1)
                if last < first or step < 1:
                    raise Wrong(expected)
                values.update(range(first, last + 1, step))
            elif part.strip().isascii() and part.strip().isdecimal() and len(part) < 10:
                values.add(int(part))
            else:
                raise Wrong(expected)
        if min(values) < low or max(values) > high:
            raise Wrong(expected)
        if len(values) > MOST_VALUES:
            raise Wrong(f"at most {MOST_VALUES} values")
        return tuple(sorted(values))

    return read


def _words(*known: str) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
        for word in words:
            if word not in known:
                raise Wrong(f"some of {either(known)}, joined by commas{did_you_mean(word, known)}")
        return words

    return read


def _truths(text: str) -> tuple[bool, ...]:
    return tuple(word == "true" for word in _words("false", "true")(text))


def _between(text: str) -> tuple[float, float]:
    parts = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(?:-([0-9]+(?:\.[0-9]+)?))?", text.strip())
    if parts is None or float(parts[2] or parts[1]) < float(parts[1]):
        raise Wrong("a factor or two, such as 2 (doubling) or 1-3")
    return float(parts[1]), float(parts[2] or parts[1])


def _objectives(text: str) -> tuple[Objective, ...]:
    found = []
    for part in text.split(","):
        way, _, name = part.strip().partition("-")
        if way not in WAYS or name not in OBJECTIVES:
            raise Wrong(
                f"what is better, such as more-parameters,less-flops (more- or less-, and "
                f"{either(OBJECTIVES)})"
            )
        found.append(Objective(name, way))
    if len({objective.name for objective in found}) < len(found):
        raise Wrong("each objective once")
    return tuple(found)


def _one(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise Wrong(f"{either(known)}{did_you_mean(text, known)}")
        return text

    return read


MOST = 10**12
DEFAULT_OBJECTIVES = "more-parameters,less-flops,more-depth,more-speed"
OPTIONS = (
    Option("budget", "N", "most parameters (5,000,000)", _whole(1, MOST)),
    Option("min-parameters", "N", "fewest parameters (0)", _whole(0, MOST)),
    Option("max-flops", "N", "most FLOPs of a forward pass, an image (any); 1.2G does",
           _whole(1, 10**15)),
    Option("min-depth", "N", "fewest layers with weights, ResNet-18 has 18 (1)", _whole(1, 10**6)),
    Option("max-depth", "N", "most layers with weights (any)", _whole(1, 10**6)),
    Option("layers", "LIST", "numbers of residual layers (2,3,4)", _wholes(1, 12)),
    Option("blocks", "LIST", "blocks that a layer may have (1-7)", _wholes(1, 1000)),
    Option("widths", "LIST", "channels that a layer may have (16,32,64,96,128,192,256,512)",
           _wholes(1, 65536)),
    Option("growth", "FACTOR", "how wide a layer may be beside the one before it: 2 means "
           "doubling, 1-3 anything from as wide to three times (1-3)", _between),
    Option("conv-kernels", "LIST", "kernels of the blocks' convolutions (3,5)", _wholes(1, 11)),
    Option("skip-kernels", "LIST", "kernels on the skip paths (1,3)", _wholes(1, 11)),
    Option("mixed-kernels", "", "a kernel for each layer instead of one for all", bool),
    Option("se", "LIST", "squeeze and excitation: none, stem, block (all three)",
           _words("none", "stem", "block")),
    Option("se-reduction", "N", "channels divided by inside an SE unit (16)", _whole(1, 65536)),
    Option("skip", "LIST", "how a skip path changes size: conv, maxpool (conv)",
           _words("conv", "maxpool")),
    Option("preactivation", "LIST", "normalise before convolving: false, true (false)", _truths),
    Option("stem-kernels", "LIST", "kernels of the first convolution (3)", _wholes(1, 11)),
    Option("stem-strides", "LIST", "strides of the first convolution (1)", _wholes(1, 4)),
    Option("classes", "N", "classes of the data (10)", _whole(1, 10**6)),
    Option("side", "N", "side of the images (32)", _whole(1, 4096)),
    Option("objectives", "LIST", "what is compared, and which way is better "
           f"({DEFAULT_OBJECTIVES})", _objectives),
    Option("runs", "FOLDER", "finished runs that speed is predicted from (runs)", Path),
    Option("sort", "NAME", "order of the list: parameters, flops, depth or speed (parameters)",
           _one(*OBJECTIVES)),
    Option("limit", "N", "designs listed; 0 means all (20)", _whole(0, 10**9)),
    Option("write", "N", "write the first N of the list as configuration files (0)",
           _whole(0, 10**5)),
    Option("out", "FOLDER", "where they are written (explored)", Path),
    Option("json", "", "print JSON", bool),
)  # fmt: skip
FIELDS = {  # options that are named otherwise than the fields of Space
    "min-parameters": "least",
}


def read(argv: Sequence[str]) -> Asked:
    """What `argv` asks for; all problems are raised together."""
    flags = [Flag(name, doc, value or None) for name, value, doc, _ in OPTIONS]
    line = scan(argv, {}, flags)
    problems = [*line.problems, *(f"{file}: no configuration is read here" for file in line.files)]
    values: dict[str, Any] = {}
    for option in OPTIONS:
        given = line.flags.get(option.name)
        if given is None:
            continue
        if not option.value:
            values[option.name] = True
            continue
        try:
            values[option.name] = option.read("" if given is True else str(given))
        except Wrong as error:
            what = "nothing" if given is True else shown(str(given))
            problems.append(f"--{option.name}: expected {error}, found {what}")
    space = _space(values)
    runs, out = values.get("runs"), values.get("out", Path("explored"))
    if not problems:
        problems = [*_contradictions(values, space)]
    if runs is not None and not runs.is_dir():
        problems.append(f"--runs: no such folder: {runs}")
    if not str(out).isprintable():
        problems.append(
            f"--out: expected a path without control characters, found {shown(str(out))}"
        )
    elif out.exists() and not out.is_dir():
        problems.append(f"--out: a file, where a folder is expected: {out}")
    if problems:
        raise UserError(*problems)
    return Asked(
        space,
        values.get("objectives", _objectives(DEFAULT_OBJECTIVES)),
        runs,
        values.get("sort", "parameters"),
        values.get("limit", USUAL_LIMIT),
        values.get("write", 0),
        out,
        "json" in values,
    )


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether `--help` is among the arguments."""
    return any(word in HELP for word in argv)


def help_text(program: str, summary: str) -> str:
    """Every option with its explanation and, in brackets, its default."""
    width = max(40, min(100, shutil.get_terminal_size().columns - 1))
    lines = [f"usage: {program} [--OPTION VALUE]...", "", *textwrap.wrap(summary, width), ""]
    for option in OPTIONS:
        lines.append(f"  --{option.name} {option.value}".rstrip())
        lines += textwrap.wrap(
            option.doc, width, initial_indent=" " * 8, subsequent_indent=" " * 8,
            break_on_hyphens=False,
        )  # fmt: skip
    lines += [f"  {', '.join(HELP)}", "        print this and stop"]
    return "\n".join(lines) + "\n"


def _space(values: dict[str, Any]) -> Space:
    names = {field.name for field in fields(Space)}
    given = {FIELDS.get(key, key.replace("-", "_")): value for key, value in values.items()}
    parts = {key: value for key, value in given.items() if key in names}
    low, high = values.get("min-depth", 1), values.get("max-depth", Space.depths[1])
    return Space(**parts, depths=(low, high))


def _contradictions(values: dict[str, Any], space: Space) -> list[str]:
    """What no single option shows."""
    found = []
    if space.least > space.budget:
        found.append(f"--min-parameters: {space.least:,} are over the budget of {space.budget:,}")
    if space.depths[0] > space.depths[1]:
        found.append(f"--min-depth: {space.depths[0]} is over --max-depth, {space.depths[1]}")
    written, listed = values.get("write", 0), values.get("limit", USUAL_LIMIT)
    if 0 < listed < written:
        found.append(f"--write: {written} of a list of {listed}; raise --limit")
    if space.se != ("none",) and "none" not in space.se and max(space.widths) < space.se_reduction:
        found.append(
            f"--se-reduction: {space.se_reduction} leaves no channel of any of --widths; the "
            f"nearest that fits: {max(space.widths)}"
        )
    impossible = designs.misfits(space)
    if impossible and not any(True for _ in designs.families(space)):
        found += [f"--layers, --conv-kernels, --skip-kernels: {text}" for text in impossible]
    if not found and (size := designs.size(space)) > LARGEST_GRID:
        found.append(
            f"--widths, --blocks, --layers: a grid of {size:,} designs; at most {LARGEST_GRID:,}"
        )
    return found
