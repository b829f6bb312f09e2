"""The rates of the machine that the runs of a sweep will be on."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from engine.config.schema import Runtime
from engine.step import device, rates
from engine.step.device import Machine
from engine.step.rates import Rates
from engine.sweep.arguments import Arguments


def measured_rates(args: Arguments, *, dry: bool = False) -> dict[str, Rates]:
    """By the precision that runs are configured with, such as auto.

    Kept in `runtime.cache`; a dry run makes no folder for it.
    """
    runtime = args.settings.runtime
    cache: Path | None = Path(runtime.cache or args.root / ".cache")
    if dry and not (cache and cache.is_dir()):
        cache = None
    cores, jobs = len(os.sched_getaffinity(0)), max(1, args.flags.get("jobs", 0))
    return rates_here(runtime, precisions_of(args), max(1, cores // jobs), cache)


def precisions_of(args: Arguments) -> list[str]:
    """The precisions that runs are configured with."""
    return list(dict.fromkeys(run.config.runtime.precision for run in args.runs))


def rates_here(
    runtime: Runtime, precisions: Iterable[str], cores: int, cache: Path | None
) -> dict[str, Rates]:
    """The rates of this machine by precision, of a run with so many of its cores."""
    processor = device.select(runtime)
    threads = 1 if runtime.exact else runtime.threads or cores
    result = {}
    for precision in precisions:
        wanted = replace(runtime, precision=precision)
        decided = device.precision_of(wanted, processor, cache)
        result[precision] = rates.measured(
            Machine(processor, decided, compile=False), threads, cache
        )
    return result
