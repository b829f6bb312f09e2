"""A network drawn from its `Variant`: an SVG of stem, residual layers, pool and classifier.

Each block is a bar with the arc of its skip path: plain where it is the identity, dashed where a
convolution changes the size, with a triangle where a max pool comes first. The convolution of a
pool transition is a bar without an arc, with the pool's triangle above it. Bars are as high as
their maps are wide.
"""

from __future__ import annotations

import math
from html import escape
from typing import NamedTuple

from engine.model import budget
from engine.model.variants import Layer, Variant

BAR, GAP, BETWEEN = 20, 12, 34  # pixels: width of a block, between blocks, between layers
TOP, LOWEST, HIGHEST = 70, 22, 132
COLOURS = ("#dbeafe", "#bfdbfe", "#93c5fd", "#60a5fa", "#3b82f6", "#2563eb", "#1d4ed8")
INK, GREY = "#0f172a", "#475569"


class _Part(NamedTuple):
    svg: list[str]
    right: float  # where the next part begins
    middle: float


def drawing(variant: Variant, classes: int = 10, side: int = 32, title: str = "") -> str:
    """The whole picture, complete in itself."""
    sides = budget.feature_maps(variant, side)
    ground = TOP + HIGHEST
    parts: list[_Part] = [_column(16, "images", (f"3 × {side} × {side}",), "#f1f5f9", side, side)]
    stem = f"{variant.stem_kernel}×{variant.stem_kernel}"
    stem += f", stride {variant.stem_stride}" if variant.stem_stride > 1 else ""
    first = variant.stem_width
    kind = "whitening" if variant.stem == "whiten" else "conv"
    words = (f"{kind} {stem}", f"{first} × {sides[0]} × {sides[0]}")
    parts.append(_column(parts[-1].right, "stem", words, "#e2e8f0", sides[0], side))
    if variant.se == "stem":
        inner = first // variant.se_reduction
        words = (f"{first}-{inner}-{first}", "squeeze, excite")
        parts.append(_column(parts[-1].right, "SE", words, "#fde68a", sides[0], side))
    for number, layer in enumerate(variant.layers):
        parts.append(_layer(parts[-1].right, variant, number, layer, sides[number + 1], side))
    pooled = budget.pooled_side(variant, side)
    whole = variant.pool in ("global", sides[-1])
    pool = "global" if whole else f"{variant.pool}×{variant.pool}"
    kind = "maximum" if variant.pool_kind == "max" else "average"
    words = (f"{pool} {kind}", f"{variant.widths[-1]} × {pooled} × {pooled}")
    parts.append(_column(parts[-1].right, "pool", words, "#e2e8f0", pooled, side))
    parts.append(_column(parts[-1].right, "linear", (f"{classes} classes",), "#bbf7d0", 6, side))
    width, height = parts[-1].right + 8, ground + 74
    total = budget.parameters(variant, classes, side=side).total
    forward = budget.flops(variant, classes, side=side).forward
    head = f"{title}: " if title else ""
    head += f"{total:,} parameters, {forward / 1e9:.3f} GFLOPs per image"
    head += ", pre-activation" if variant.preactivation else ""
    head += f", {variant.activation}" if variant.activation != "relu" else ""
    if variant.dropout:
        head += f", dropout {variant.dropout:g} ({variant.dropout_place})"
    lines = [
        f'<line x1="{a.right - BETWEEN + 6:.0f}" y1="{ground - 3}" x2="{a.right - 4:.0f}" '
        f'y2="{ground - 3}" stroke="{GREY}" marker-end="url(#arrow)"/>'
        for a in parts[:-1]
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
            f'width="{width:.0f}" height="{height}" font-family="system-ui, sans-serif" '
            f'font-size="11" fill="{INK}" role="img"><title>{escape(head)}</title>',
            '<defs><marker id="arrow" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" '
            f'markerHeight="6" orient="auto"><path d="M0 0 L6 3 L0 6 z" fill="{GREY}"/></marker>'
            "</defs>",
            f'<rect width="{width:.0f}" height="{height}" fill="#ffffff"/>',
            f'<text x="16" y="22" font-size="14" font-weight="600">{escape(head)}</text>',
            *lines,
            *(line for part in parts for line in part.svg),
            "</svg>\n",
        ]
    )


def _layer(
    left: float, variant: Variant, number: int, layer: Layer, map_side: int, side: int
) -> _Part:
    ground, high = TOP + HIGHEST, _height(map_side, side)
    colour = COLOURS[min(number, len(COLOURS) - 1)]
    svg = []
    pools, start = variant.transition == "pool", left
    if pools:
        svg += [_bar(left, BAR, high, colour), _triangle(left + BAR / 2, ground - high - 1)]
        start += BAR + GAP
    for index in range(layer.blocks):
        x = start + index * (BAR + GAP)
        svg.append(_bar(x, BAR, high, colour))
        if variant.se == "block":
            svg.append(_bar(x + BAR - 6, 6, high, "#fde68a"))
        changes = index == 0 and layer.projects
        begin, end, peak = x - GAP / 2, x + BAR + GAP / 2, ground - high - 20
        dashes = ' stroke-dasharray="4 2"' if changes else ""
        svg.append(
            f'<path d="M{begin:.0f} {ground - high + 6:.0f} C{begin:.0f} {peak:.0f} {end:.0f} '
            f'{peak:.0f} {end:.0f} {ground - high + 6:.0f}" fill="none" stroke="{GREY}"{dashes}/>'
        )
        if changes and variant.skip == "maxpool" and layer.stride != 1:
            svg.append(_triangle(begin, ground - high - 1))
    right = start + layer.blocks * (BAR + GAP) - GAP
    blocks = f"{layer.blocks} block{'s' if layer.blocks > 1 else ''}"
    words = [
        f"{'conv, pool, ' if pools else ''}{blocks}, {layer.kernel}×{layer.kernel}",
        f"{layer.width} × {map_side} × {map_side}",
    ]
    if layer.projects:
        pool = "pool, " if variant.skip == "maxpool" and layer.stride != 1 else ""
        words.append(f"skip {pool}{layer.skip_kernel}×{layer.skip_kernel}")
    return _labelled(svg, left, right, f"layer {number + 1}", words)


def _column(
    left: float, name: str, words: tuple[str, ...], colour: str, map_side: int, side: int
) -> _Part:
    svg = [_bar(left, BAR, _height(map_side, side), colour)]
    return _labelled(svg, left, left + BAR, name, words)


def _labelled(
    svg: list[str], left: float, right: float, name: str, words: tuple[str, ...] | list[str]
) -> _Part:
    """The bars with their words below, moved to the middle of whichever is wider."""
    wide = max(right - left, 6.2 * max(map(len, (name, *words))))
    shift, middle = (wide - (right - left)) / 2, left + wide / 2
    ground = TOP + HIGHEST
    svg = [f'<g transform="translate({shift:.1f} 0)">', *svg, "</g>"]
    svg.append(
        f'<text x="{middle:.0f}" y="{ground + 18}" text-anchor="middle" font-weight="600">'
        f"{escape(name)}</text>"
    )
    for number, line in enumerate(words):
        svg.append(
            f'<text x="{middle:.0f}" y="{ground + 33 + 14 * number}" text-anchor="middle" '
            f'fill="{GREY}">{escape(line)}</text>'
        )
    return _Part(svg, left + wide + BETWEEN, middle)


def _triangle(x: float, y: float) -> str:
    """A max pool, at the middle of its upper edge."""
    return f'<path d="M{x - 4:.0f} {y:.0f} h8 l-4 7 z" fill="{GREY}"/>'


def _bar(x: float, width: float, high: float, colour: str) -> str:
    return (
        f'<rect x="{x:.0f}" y="{TOP + HIGHEST - high:.0f}" width="{width}" height="{high:.0f}" '
        f'rx="3" fill="{colour}" stroke="{GREY}"/>'
    )


def _height(map_side: int, side: int) -> float:
    """In pixels: the square root of the share, so that small maps can still be seen."""
    return LOWEST + (HIGHEST - LOWEST) * math.sqrt(min(map_side, side) / side)
