"""Train every run of a report: `python -m engine.sweep --sweep-file configs/sweeps/X.yaml`.

The same command goes on where it stopped, and repeats nothing; started twice, two processes share
the work.
"""

from __future__ import annotations

if __name__ == "__main__":  # a signal in the seconds of the imports below is to be heard as well
    from engine import signals

    signals.listen_early()

import json
import os
import sys
from collections.abc import Sequence
from functools import partial

import torch

from engine import atomic, train
from engine.errors import OK, RESUMABLE, run_command
from engine.signals import Stop
from engine.step import device
from engine.sweep import dry_run, queue, results
from engine.sweep.arguments import Arguments, ask
from engine.sweep.driver import Driver
from engine.sweep.estimate import Speeds
from engine.sweep.executor import Executor
from engine.sweep.in_process import InProcess
from engine.sweep.live import LiveView
from engine.sweep.processes import VISIBLE, Processes, devices_of
from engine.sweep.queue import Queue
from engine.sweep.records import Records


def main(argv: Sequence[str]) -> int:
    """The command: show the plan, show the results, or run."""
    asked = ask(argv)
    warn(*asked.warnings)
    if "dry-run" in asked.flags:
        return show_plan(asked)
    if "summary" in asked.flags:
        return show_results(asked)
    with Stop() as stop:
        return run(asked, stop)


def run(asked: Arguments, stop: Stop) -> int:
    """Make every run that is not made yet; returns the exit code."""
    speeds = partial(speeds_of, device_name(asked))
    results = Records(asked.root)
    quiet = "quiet" in asked.flags
    with Queue(asked.folder, warn) as claims:
        with claims.alone():
            atomic.write_json(asked.folder / "plan.json", asked.plan.content())
        names = {run.fingerprint: run.name for run in reversed(asked.runs)}
        finished = {f for f in names if results.finished(f) is not None}
        claims.enrol(names, finished, retry="retry-failed" in asked.flags)
        executor = executor_of(asked, stop)
        with LiveView(asked.runs, results, speeds, executor.slots, quiet=quiet) as live:
            live.note(f"{len(names)} runs, {len(finished)} done before; {asked.folder}")
            code = Driver(
                asked.runs, claims, results, executor, live, stop,
                retries=asked.retries, logs=asked.folder / "logs",
            ).run()  # fmt: skip
    if code == RESUMABLE:
        done = sum(results.finished(fingerprint) is not None for fingerprint in names)
        warn(f"stopped with {done} of {len(names)} runs done; the same command goes on from there")
        return code
    show_results(asked)
    tell_set_aside(asked)
    return code


def executor_of(asked: Arguments, stop: Stop) -> Executor:
    """Where the runs are executed: `--jobs` processes a device, or this process."""
    folder, cores = asked.folder / "configs", len(os.sched_getaffinity(0))
    if asked.jobs == 0:
        return InProcess(train.train, stop, lambda: Processes(folder, [None], 1, cores))
    wanted = asked.settings.runtime.device
    devices = devices_of(wanted, torch.cuda.device_count(), os.environ.get(VISIBLE))
    return Processes(folder, devices, asked.jobs, cores)


def show_plan(asked: Arguments) -> int:
    """What would run, what is done, what it costs."""
    results, rows = Records(asked.root), queue.peek(asked.folder)
    speeds = speeds_of(device_name(asked), results)
    if "json" in asked.flags:
        found = table.content(asked.plan, asked.runs, results, rows, speeds)
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        print(table.text(asked.runs, results, rows, speeds))
    return OK


def show_results(asked: Arguments) -> int:
    """What the finished runs came to, and which have not finished."""
    results = Records(asked.root)
    found = selection.select(asked.runs, results, queue.peek(asked.folder))
    if "json" in asked.flags:
        content = selection.content(asked.plan, found)
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        print(selection.table(found))
    warn(*(f"warning: {path}: {what}; left out" for path, what in results.broken.items()))
    return OK


def tell_set_aside(asked: Arguments) -> None:
    """The runs that failed too often, with their last lines."""
    rows = queue.peek(asked.folder)
    once = {run.fingerprint: run for run in asked.runs}
    for fingerprint, run in once.items():
        row = rows.get(fingerprint)
        if row is not None and row.state == queue.SET_ASIDE:
            log = asked.folder / "logs" / f"{run.folder}.log"
            warn(f"{run.name}: set aside after {row.attempts} failures ({log}); its last lines:")
            warn(*(f"    {line}" for line in row.error.splitlines()))
            warn("  try it again with: --retry-failed")


def device_name(asked: Arguments) -> str:
    """The processor that runs will be on; one that is not there is refused."""
    chosen = device.select(asked.settings.runtime)
    return device.Machine(chosen, "fp32", compile=False).name()


def speeds_of(name: str, results: Records) -> Speeds:
    """What the records say of the speed of the device `name`."""
    return Speeds(results.records(), name)


def warn(*lines: str) -> None:
    """Lines for the person at the terminal."""
    for line in lines:
        print(line, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
