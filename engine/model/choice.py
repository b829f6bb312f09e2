"""From `model.*` of a configuration to one `Variant`, and everything that is wrong with it.

Parts override the named variant's. Nothing is built here, so even huge networks are refused at
once.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from engine.config.schema import Model
from engine.config.wording import did_you_mean
from engine.errors import UserError
from engine.model import budget, fitting
from engine.model.variants import PER_LAYER, VARIANTS, Variant, doubled

Problem = tuple[str, str]  # dotted key, message

LIST = "python -m engine.train --list shows all"
CAUSES = {  # settings that may be to blame
    "se_reduction": ("se_reduction", "widths", "se"),
    "stem_kernel": ("stem_kernel", "stem"),
    "stem_stride": ("stem_stride", "stem"),
    "preactivation": ("preactivation", "transition"),
    "skip": ("skip", "transition"),
}
OTHERS = ("blocks", "stem_stride", "transition", "stem")
SINGLE = tuple(field.name for field in dataclasses.fields(Variant) if field.name not in PER_LAYER)


def resolve(model: Model) -> Variant:
    """The network that `model` defines, by name, by parts or both."""
    variant, wrong = _merge(model)
    if variant is None:
        raise UserError(*(f"{key}: {message}" for key, message in wrong))
    return variant


def problems(model: Model, classes: int = 10, side: int = 32) -> list[Problem]:
    """Everything that keeps `model` from being built and trained, as (dotted key, message)."""
    variant, wrong = _merge(model)
    if variant is None:
        return wrong
    wrong = [
        (_blame(model, *CAUSES.get(field, (field, *OTHERS))), text)
        for field, text in fitting.build_errors(variant, side)
    ]
    total = budget.parameters(variant, classes, side=side).total
    if 0 < model.budget < total:
        text = f"{total:,} parameters are over the budget of {model.budget:,}"
        if not wrong:  # a network that cannot be built has no nearest one
            text += _advice(fitting.nearest(variant, model.budget, classes, side))
        key = _blame(model, "widths", "blocks")
        wrong.append((key, f"{text} (model.budget 0 lifts the limit)"))
    return wrong


def suggestion(name: str) -> str:
    """`; did you mean ...?` with the variant closest to `name`, and where to find them all."""
    close = did_you_mean(name, VARIANTS)
    return f"{close} ({LIST})" if close else f"; {LIST}"


def _merge(model: Model) -> tuple[Variant | None, list[Problem]]:
    """The named variant with its parts overridden, or else what is wrong."""
    wrong: list[Problem] = []
    base = VARIANTS.get(model.name)
    if model.name and base is None:
        text = f"no variant {model.name!r}{suggestion(model.name)}"
        wrong.append(("model.name", text))
    if not model.name and not model.blocks:
        text = f"expected a variant, or model.blocks such as [2, 2, 2] ({LIST})"
        wrong.append(("model.name", text))
    lists = {field: tuple(getattr(model, field)) for field in PER_LAYER}
    depth = _depth(lists, base)
    merged: dict[str, tuple[int, ...]] = {}
    for field, values in lists.items():
        if len(values) > 1 and len(values) != depth:
            text = (
                f"{len(values)} entries for {depth} layers; give {depth}, or one for all, "
                "or as many model.blocks"
            )
            wrong.append((f"model.{field}", text))
        elif values:
            merged[field] = values * depth if field == "blocks" and len(values) == 1 else values
        elif base is not None:
            extended = _extended(field, base, depth)
            if extended is None:
                own = list(getattr(base, field))
                text = f"those of {model.name}, {own}, do not extend to {depth} layers; give "
                wrong.append((f"model.{field}", f"{text}{depth} entries, or one for all"))
            else:
                merged[field] = extended
    if wrong:
        return None, wrong
    single = {name: value for name in SINGLE if (value := getattr(model, name)) is not None}
    parts: dict[str, Any] = {**merged, **single}
    return (Variant(**parts) if base is None else dataclasses.replace(base, **parts)), []


def _depth(lists: dict[str, tuple[int, ...]], base: Variant | None) -> int:
    """The number of layers that the lists imply; a list of one entry implies none."""
    if len(lists["blocks"]) > 1:
        return len(lists["blocks"])
    if base is not None:
        return len(base.blocks)
    return max(1, *(len(values) for values in lists.values()))


def _extended(field: str, base: Variant, depth: int) -> tuple[int, ...] | None:
    """The list of a named variant for another depth, if it doubles or is constant."""
    own: tuple[int, ...] = getattr(base, field)
    if len(own) == depth:
        return own
    if field == "widths":
        return doubled(own[0], depth) if own == doubled(own[0], len(own)) else None
    return own[:1] if len(set(own)) == 1 else None


def _blame(model: Model, *fields: str) -> str:
    """The key to report: the first of `fields` that the configuration sets, else the name."""
    for field in fields:
        if getattr(model, field) not in ((), [], None):
            return f"model.{field}"
    return "model.name" if model.name else f"model.{fields[-1]}"


def _advice(near: list[fitting.Fit]) -> str:
    if not near:
        return "; no network with as many layers fits"
    ways = " or ".join(
        f"model.{fit.field} {list(getattr(fit.variant, fit.field))} ({fit.parameters:,})"
        for fit in near
    )
    return f"; the nearest that fits: {ways}"
