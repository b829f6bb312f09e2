"""The rates of the machine that the runs of a sweep will be on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from engine.step import device, rates
from engine.step.device import Machine
from engine.step.rates import Rates
from engine.sweep.arguments import Arguments


def measured_rates(args: Arguments, *, dry: bool = False) -> dict[str, Rates]:
    """By the precision that runs are configured with, such as auto.

    Kept in `runtime.cache`; a dry run makes no folder for it.
    """
    runtime = args.settings.runtime
    processor = device.select(runtime)
    cache: Path | None = Path(runtime.cache or args.root / ".cache")
    if dry and not (cache and cache.is_dir()):
        cache = None
    cores, jobs = len(os.sched_getaffinity(0)), max(1, args.flags.get("jobs", 0))
    threads = 1 if runtime.exact else runtime.threads or max(1, cores // jobs)
    result = {}
    for precision in dict.fromkeys(run.config.runtime.precision for run in args.runs):
        wanted = replace(runtime, precision=precision)
        decided = device.precision_of(wanted, processor, cache)
        result[precision] = rates.measured(
            Machine(processor, decided, compile=False), threads, cache
        )
    return result
