"""The command line of the explorer: what each option accepts, and all that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from engine.config.argv import Flag, scan
from engine.config.readers import one_of, some_of, unexpected, whole, wholes
from engine.config.wording import either, shown
from engine.errors import UserError
from engine.explore import designs
from engine.explore.designs import Space
from engine.explore.search import OBJECTIVES, WAYS, Objective
from engine.model.choice import suggestion
from engine.model.variants import VARIANTS

LARGEST_GRID = 20_000_000_000  # designs; more would take hours
LISTED = 20  # designs, unless --limit says otherwise
LARGEST_COUNT = 10**12
TAKEN = ("stem", "transition", "skip", "preactivation")  # from --parts, where not given

_GROWTH = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:-([0-9]+(?:\.[0-9]+)?))?")


@dataclass(frozen=True)
class Arguments:
    """A checked command line."""

    space: Space
    objectives: tuple[Objective, ...]
    runs: Path | None  # None: the usual folder, if it is there
    sort: str
    limit: int
    write: int
    out: Path
    json: bool


def _growth(text: str) -> tuple[float, float]:
    parts = _GROWTH.fullmatch(text.strip())
    if parts is None or float(parts[2] or parts[1]) < float(parts[1]):
        raise unexpected(text, "a factor, or a range of them, such as 2 (doubling) or 1-3")
    return float(parts[1]), float(parts[2] or parts[1])


def _objectives(text: str) -> tuple[Objective, ...]:
    objectives = []
    for part in text.split(","):
        way, _, name = part.strip().partition("-")
        if way not in WAYS or name not in OBJECTIVES:
            expected = f"more- or less- with {either(OBJECTIVES)}, joined by commas"
            raise unexpected(text, f"{expected}, such as more-parameters,less-flops")
        objectives.append(Objective(name, way))
    if len({objective.name for objective in objectives}) < len(objectives):
        raise unexpected(text, "each objective once")
    return tuple(objectives)


def _booleans(text: str) -> tuple[bool, ...]:
    return tuple(word == "true" for word in some_of("false", "true")(text))


def _variant(text: str) -> str:
    if text not in VARIANTS:
        raise unexpected(text, f"a variant{suggestion(text)}")
    return text


def _option(name: str, value: str, doc: str, read: Callable[[str], Any]) -> Flag:
    return Flag(name, doc, value, needs=True, read=read)


DEFAULT_OBJECTIVES = "more-parameters,less-flops,more-depth,more-speed"
OPTIONS = (
    _option("budget", "N", "most parameters (default: 5,000,000)", whole(1, LARGEST_COUNT)),
    _option("min-parameters", "N", "fewest parameters (default: 0)", whole(0, LARGEST_COUNT)),
    _option("max-flops", "N", "most FLOPs of a forward pass per image, such as 1.2G "
            "(default: no limit)", whole(1, 10**15)),
    _option("min-depth", "N", "fewest layers with weights, counted as in ResNet-18 (default: 1)",
            whole(1, 10**6)),
    _option("max-depth", "N", "most layers with weights (default: no limit)", whole(1, 10**6)),
    _option("layers", "LIST", "numbers of residual layers (default: 2,3,4)", wholes(1, 12)),
    _option("blocks", "LIST", "blocks that a layer may have (default: 1-7)", wholes(1, 1000)),
    _option("widths", "LIST", "channels that a layer may have (default: "
            "16,32,64,96,128,192,256,512)", wholes(1, 65536)),
    _option("growth", "RANGE", "factor from the width of one layer to that of the next: 2 doubles "
            "it, 1-3 allows as wide to three times as wide (default: 1-3)", _growth),
    _option("conv-kernels", "LIST", "kernel sizes of the blocks' convolutions (default: 3,5)",
            wholes(1, 11)),
    _option("skip-kernels", "LIST", "kernel sizes on the skip paths (default: 1,3)",
            wholes(1, 11)),
    Flag("mixed-kernels", "let each layer have kernels of its own, not one size for all"),
    _option("se", "LIST", "squeeze-and-excitation: none, stem, block (default: all three)",
            some_of("none", "stem", "block")),
    _option("se-reduction", "N", "reduction ratio of the SE units (default: 16)",
            whole(1, 65536)),
    _option("skip", "LIST", "skip paths where the size changes: conv (strided), maxpool (max pool, "
            "then convolution) (default: conv)", some_of("conv", "maxpool")),
    _option("preactivation", "LIST", "pre-activation blocks: false, true (default: false)",
            _booleans),
    _option("stem-kernels", "LIST", "kernel sizes of the first convolution (default: 3)",
            wholes(1, 11)),
    _option("stem-strides", "LIST", "strides of the first convolution (default: 1)", wholes(1, 4)),
    _option("stem", "LIST", "first convolutions: conv, whiten (fixed filters, 6 channels per pixel "
            "of the kernel) (default: conv)", some_of("conv", "whiten")),
    _option("transition", "LIST", "how a layer begins: stride, pool (convolution and max pool) "
            "(default: stride)", some_of("stride", "pool")),
    _option("parts", "VARIANT", "give all designs the activation, norms and head of this variant, "
            "and its stem, transition, skip path and pre-activation unless options say otherwise "
            "(default: resnet453)", _variant),
    _option("classes", "N", "classes of the data set (default: 10)", whole(1, 10**6)),
    _option("side", "N", "side of the images in pixels (default: 32)", whole(1, 4096)),
    _option("objectives", "LIST", "what is compared, and whether more or less of it is better "
            f"(default: {DEFAULT_OBJECTIVES})", _objectives),
    _option("runs", "FOLDER", "finished runs that speed is predicted from (default: runs)", Path),
    _option("sort", "NAME", "order of the list, best first: parameters, flops, depth or speed "
            "(default: parameters)", one_of(*OBJECTIVES)),
    _option("limit", "N", f"designs listed; 0: all (default: {LISTED})", whole(0, 10**9)),
    _option("write", "N", "write the first N of the list as configuration files (default: 0)",
            whole(0, 10**5)),
    _option("out", "FOLDER", "where they are written (default: explored)", Path),
    Flag("json", "print JSON"),
)  # fmt: skip


def read(argv: Sequence[str]) -> Arguments:
    """The checked arguments; all problems are raised together."""
    line = scan(argv, {}, OPTIONS)
    values = line.flags
    problems = [*line.problems, *(f"{file}: no configuration is read here" for file in line.files)]
    space = _space(values)
    runs, out = values.get("runs"), values.get("out", Path("explored"))
    if not problems:
        problems = _contradictions(values, space)
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
    return Arguments(
        space,
        values.get("objectives", _objectives(DEFAULT_OBJECTIVES)),
        runs,
        values.get("sort", "parameters"),
        values.get("limit", LISTED),
        values.get("write", 0),
        out,
        "json" in values,
    )


def _space(values: dict[str, Any]) -> Space:
    names = {field.name for field in fields(Space)}
    parts = {name.replace("-", "_"): value for name, value in values.items()}
    if base := VARIANTS.get(values.get("parts", "")):
        own = {"stem_kernels": base.stem_kernel, "stem_strides": base.stem_stride}
        own |= {name: getattr(base, name) for name in TAKEN}
        parts = {name: (value,) for name, value in own.items()} | parts
    return Space(
        **{name: value for name, value in parts.items() if name in names},
        least=values.get("min-parameters", Space.least),
        depths=(values.get("min-depth", 1), values.get("max-depth", Space.depths[1])),
    )


def _contradictions(values: dict[str, Any], space: Space) -> list[str]:
    """What no single option shows."""
    problems = []
    if space.least > space.budget:
        problems.append(f"--min-parameters: {space.least:,} is over --budget, {space.budget:,}")
    if space.depths[0] > space.depths[1]:
        problems.append(f"--min-depth: {space.depths[0]} is over --max-depth, {space.depths[1]}")
    written, listed = values.get("write", 0), values.get("limit", LISTED)
    if 0 < listed < written:
        problems.append(f"--write: {written} of a list of {listed}; raise --limit")
    if space.se != ("none",) and "none" not in space.se and max(space.widths) < space.se_reduction:
        problems.append(
            f"--se-reduction: {space.se_reduction} leaves no channel of any of --widths; the "
            f"nearest that fits: {max(space.widths)}"
        )
    impossible = designs.build_errors(space)
    if impossible and not any(True for _ in designs.families(space)):
        some = "--layers, --conv-kernels, --skip-kernels"
        plain = space.stem == ("conv",) and space.transition == ("stride",)
        keys = some if plain else f"{some}, --stem, --transition"
        problems += [f"{keys}: {text}" for text in impossible]
    if not problems and (size := designs.size(space)) > LARGEST_GRID:
        problems.append(
            f"--widths, --blocks, --layers: a grid of {size:,} designs; at most {LARGEST_GRID:,}"
        )
    return problems
