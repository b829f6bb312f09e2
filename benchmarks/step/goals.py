"""The names of the step's benchmark: its networks, the figures that stay, and the goals."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.measuring.goals import Goal

KEYS = ("ratio_vs_plain", "images_per_second", "compile_seconds", "tflops", "utilisation")
# these stay, at the top of the JSON, each by variant, whatever else changes

QUICKSTART = "resnet111_w16"
JUDGED = "resnet453"  # the network of a GPU's goals
VARIANTS = ("resnet1111", "se_resnet443", JUDGED, QUICKSTART)

GPU_GOALS = (
    Goal("G2", "200 epochs of resnet453, compiling included", "whole_seconds", 150, False, "s"),
    Goal("G3", "batch 128, of the rate of 1024", "rate_of_128_by_1024", 0.85, True, "%"),
    Goal("G3", "Python per step", "host_seconds", 50e-6, False, "ms"),
    Goal("G3", "GPU idle", "idle_share", 0.03, False, "%"),
    Goal("G4", "second start to its first step", "second_start_seconds", 10, False, "s"),
)


def cpu_goals(variants: Iterable[str], *, bf16: bool) -> list[Goal]:
    """A goal per network, for a CPU with or without bf16 units."""
    units = "bf16 units" if bf16 else "no bf16 units"
    goals = []
    for variant in variants:
        limit = (3.0 if variant == QUICKSTART else 2.5) if bf16 else 1.1
        what = f"{variant}, times plain PyTorch ({units})"
        goals.append(Goal("S1", what, "ratio_vs_plain", limit, True, "x", variant))
    return goals
