"""What the loader's benchmark prints: aligned plain text, each figure with its conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.measuring import text as shared
from benchmarks.measuring.results import Results
from benchmarks.measuring.units import in_unit
from engine.columns import columns


def text(results: Results, goals: Sequence[dict[str, Any]], conditions: dict[str, Any]) -> str:
    """All results as a page."""
    return shared.page(
        shared.conditions(
            conditions,
            f"{conditions['images']:,} images of {conditions['image_bytes']:,} bytes "
            f"({conditions['data']}), batch {conditions['batch_size']}, every sample delivered, "
            f"{conditions['pairs']} pairs",
        ),
        shared.rates(results),
        shared.ratios(results),
        _starts(results),
        _exits(results),
        gpu(results),
        shared.goals(goals),
        shared.missing(results),
    )


def _starts(results: Results) -> str:
    rows = []
    for name, both in results.details.get("starts", {}).items():
        for state, figures in both.items():
            row = [name, state]
            for key, (_, unit) in STARTS.items():
                spread = figures[key]
                row.append(in_unit(spread["median"], unit) if spread else "-")
            size = figures["set_bytes"]
            row.append("-" if size is None else f"{size / 2**20:,.0f} MiB")
            row.append(f"{figures['peak_bytes']['median'] / 2**20:,.0f} MiB")
            rows.append(row)
    head = ("fresh processes", "compile cache", *(title for title, _ in STARTS.values()))
    head += ("images in memory", "peak memory")
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
First batch: from opening the file, in the page cache, to the first augmented batch, no imports.
Gap: from the last batch of an epoch to the first of the next, minus the time of a usual batch.
Peak memory is that of the whole process, pages of the mapped file and the imports included."""


def _exits(results: Results) -> str:
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
        for name, left in results.details.get("early_exits", {}).items()
    ]
    return columns(("early exits", "count", "threads", "descriptors", "memory"), rows)


def gpu(results: Results) -> str:
    """Times of the augmentation kernel and of a training step."""
    kernels = results.details.get("gpu_seconds_per_50000", {})
    steps = results.details.get("gpu_step_seconds", {})
    rows = [
        (name, batch, *(f"{1e3 * spread[key]:.4f}" for key in shared.MEDIAN_MIN_MAX))
        for name, batches in [*kernels.items(), ("a training step", steps)]
        for batch, spread in batches.items()
    ]
    head = ("GPU, ms: the kernel for 50,000 images", "batch", *shared.MEDIAN_MIN_MAX)
    return columns(head, rows)
