"""What the benchmark prints: plain text, aligned, each figure with its conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.measuring.results import Findings
from benchmarks.measuring.turns import Spread
from benchmarks.measuring.units import in_unit
from engine.columns import columns


def text(found: Findings, goals: Sequence[dict[str, Any]], conditions: dict[str, Any]) -> str:
    """All that was found, as a page."""
    parts = [
        _conditions(conditions),
        _rates(found),
        _ratios(found),
        _starts(found),
        _exits(found),
        _gpu(found),
        goals_text(goals),
        _missing(found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _conditions(known: dict[str, Any]) -> str:
    names = ("torch", "torchvision", "ffcv", "numba", "numpy", "python", "engine")
    versions = ", ".join(f"{name} {known['versions'][name]}" for name in names)
    lines = [
        f"{known['images']:,} images of {known['image_bytes']:,} bytes ({known['data']}), "
        f"batch {known['batch_size']}, every sample delivered, {known['pairs']} pairs",
        f"{known['cpu']}, {known['threads']} threads on {known['cores']} cores, governor "
        f"{known['governor'] or 'unknown'}, load {known['load_before']:.2f} before and "
        f"{known['load_after']:.2f} after",
        versions,
    ]
    if "gpu" in known:
        lines.append(f"{known['gpu']}, CUDA {known['cuda']}")
    if known["quick"]:
        lines.append("--quick: fewer images and pairs; indicative only")
    return "\n".join(lines)


def _rates(found: Findings) -> str:
    rows = [
        (name, *(f"{value:,.0f}" for value in _three(spread)), found.settings[name])
        for name, spread in found.all_rates().items()
    ]
    return columns(("images/s", "median", "min", "max", "setting"), rows, right={1, 2, 3})


def _ratios(found: Findings) -> str:
    rows = [
        (name, *(f"{value:.3g}x" for value in _three(pairs.ratios)))
        for name, pairs in found.pairs.items()
    ]
    return columns(("how many times faster, pair by pair", "median", "min", "max"), rows)


def _starts(found: Findings) -> str:
    rows = []
    for name, both in found.details.get("starts", {}).items():
        for state, figures in both.items():
            row = [name, state]
            for key, (_, unit) in STARTS.items():
                spread = figures[key]
                row.append(in_unit(spread["median"], unit) if spread else "-")
            held = figures["set_bytes"]
            row.append("-" if held is None else f"{held / 2**20:,.0f} MiB")
            row.append(f"{figures['peak_bytes']['median'] / 2**20:,.0f} MiB")
            rows.append(row)
    head = ("fresh processes", "compile cache", *(title for title, _ in STARTS.values()))
    head += ("set held in", "peak memory")
    page = columns(head, rows, right=set(range(2, 9)))
    return f"{page}\n{STARTS_MEAN}" if rows else ""


STARTS = {  # figures of a start: title and unit
    "import_seconds": ("import", "s"),
    "constructor_seconds": ("constructor", "ms"),
    "first_batch_seconds": ("first batch", "s"),
    "process_to_first_batch_seconds": ("from process start", "s"),
    "epoch_gap_seconds": ("gap between epochs", "ms"),
}


STARTS_MEAN = """\
First batch: from opening the file, in the page cache, to the first augmented batch, imports apart.
Gap: from the last batch of an epoch to the first of the next, less what a usual batch takes.
Peak memory is the whole process's, pages of the mapped file and the imports among it."""


def _exits(found: Findings) -> str:
    rows = [
        (
            name,
            f"{left['exits']:,}",
            *(
                f"{left['before'][key]:,} -> {left['after'][key]:,}"
                for key in ("threads", "descriptors")
            ),
            f"{(left['after']['memory_bytes'] - left['before']['memory_bytes']) / 2**20:+,.0f} MiB",
        )
        for name, left in found.details.get("early_exits", {}).items()
    ]
    return columns(("early exits", "count", "threads", "descriptors", "memory"), rows)


def _gpu(found: Findings) -> str:
    kernels = found.details.get("gpu_seconds_per_50000", {})
    steps = found.details.get("gpu_step_seconds", {})
    rows = [
        (name, batch, *(f"{1e3 * spread[key]:.4f}" for key in ("median", "min", "max")))
        for name, batches in [*kernels.items(), ("a training step", steps)]
        for batch, spread in batches.items()
    ]
    head = ("GPU, ms: the kernel for 50,000 images", "batch", "median", "min", "max")
    return columns(head, rows)


def goals_text(goals: Sequence[dict[str, Any]]) -> str:
    """Every goal with what was measured and the verdict."""
    rows = [
        (
            each["goal"],
            each["what"],
            each["wanted"],
            "-" if each["measured"] is None else in_unit(each["measured"], each["unit"]),
            each["verdict"],
        )
        for each in goals
    ]
    return columns(("goal", "", "wanted", "measured (median)", "verdict"), rows, right=set())


def _missing(found: Findings) -> str:
    rows = [(key, reason) for key, reason in sorted(found.missing.items())]
    return columns(("not measured", "because"), rows, right=set())


def _three(spread: Spread) -> tuple[float, float, float]:
    return spread.median, min(spread.values), max(spread.values)
