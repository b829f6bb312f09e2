"""The goals of the feed beside what was measured: met or missed is computed, never written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.measuring.results import Findings
from benchmarks.measuring.units import in_unit


@dataclass(frozen=True)
class Goal:
    """A limit that a figure is held to."""

    name: str
    what: str
    key: str  # of the figure
    limit: float
    at_least: bool
    unit: str = ""

    def verdict(self, value: float | None) -> str:
        """`met`, `missed`, or `not measured`."""
        if value is None:
            return "not measured"
        reached = value >= self.limit if self.at_least else value <= self.limit
        return "met" if reached else "missed"

    def wanted(self) -> str:
        """The limit in words."""
        return f"{'at least' if self.at_least else 'at most'} {in_unit(self.limit, self.unit)}"


GOALS = (
    Goal("L1", "crop + flip to uint8, times FFCV", "ratio_uint8_vs_ffcv", 10, True, "x"),
    Goal("L1", "the same, times torchvision", "ratio_uint8_vs_torchvision", 100, True, "x"),
    Goal("L1", "the same, images/s", "images_per_second_uint8", 1e6, True, "/s"),
    Goal(
        "L2",
        "raw gather, times FFCV decode, slowest pair",
        "gather_slowest_pair_vs_ffcv_decode",
        1,
        True,
        "x",
    ),
    Goal("L2", "raw gather, of the ceiling", "gather_fraction_of_ceiling", 0.9, True, "%"),
    Goal("L3", "normalised to float32, times FFCV", "ratio_float_vs_ffcv", 8, True, "x"),
    Goal("L4", "first batch, compile cache filled", "first_batch_seconds_warm", 0.5, False, "s"),
    Goal("L4", "first batch, compile cache empty", "first_batch_seconds_cold", 4, False, "s"),
    Goal("L4", "constructor, before the gather", "constructor_seconds", 0.020, False, "ms"),
    Goal("L4", "gap between epochs (resident)", "epoch_gap_seconds", 0.001, False, "ms"),
    Goal("L4", "threads and descriptors leaked by early exits", "leaked", 0, False),
    Goal("D", "different bits among settings of one seed", "different_digests", 0, False),
    Goal("D", "cost of counted randomness", "determinism_cost", 0.02, False, "%"),
)
GPU_GOALS = (
    Goal("G1", "augmenting 50,000 images", "gpu_seconds_per_50000", 0.00025, False, "ms"),
    Goal("G1", "share of a training step", "gpu_share_of_step", 0.01, False, "%"),
    Goal("G1", "host syncs in an epoch", "gpu_host_syncs", 0, False),
)


def judged(found: Findings, gpu: bool) -> list[dict[str, Any]]:
    """Every goal with what was measured."""
    return [
        {
            "goal": goal.name,
            "what": goal.what,
            "key": goal.key,
            "wanted": goal.wanted(),
            "unit": goal.unit,
            "measured": found.value(goal.key),
            "verdict": goal.verdict(found.value(goal.key)),
            "reason": found.missing.get(goal.key),
        }
        for goal in GOALS + (GPU_GOALS if gpu else ())
    ]
