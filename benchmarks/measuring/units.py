"""Figures as people read them; a module of its own, because it needs nothing."""

from __future__ import annotations


def in_unit(value: float, unit: str) -> str:
    """A figure as people read it."""
    match unit:
        case "/s":
            return f"{value:,.0f}/s"
        case "%":
            return f"{100 * value:.3g} %"
        case "ms":
            return f"{1000 * value:.3g} ms"
        case "s":
            return f"{value:.3g} s"
        case "x":
            return f"{value:.3g}x"
    return f"{value:g}"
