"""Train every run of a report: `python -m engine.sweep --sweep-file configs/sweeps/X.yaml`.

The same command continues where it stopped and repeats nothing; started twice, two processes share
the work.
"""

from __future__ import annotations

if __name__ == "__main__":  # a signal during the seconds of imports below must not be lost
    from engine import signals

    signals.listen_early()

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from engine import atomic, output, train
from engine.config.schema import Config
from engine.errors import FAILED, OK, RESUMABLE, UserError, run_command
from engine.signals import Stop
from engine.step import device
from engine.step.rates import Rates
from engine.sweep import arguments, packing, queue_rows, results
from engine.sweep.arguments import Arguments
from engine.sweep.driver import Driver, ordered
from engine.sweep.dry_run import Overview
from engine.sweep.estimate import Speeds
from engine.sweep.executor import Executor
from engine.sweep.in_process import InProcess
from engine.sweep.live import LiveView
from engine.sweep.machine import measured_rates, precisions_of
from engine.sweep.mps import SLICES, VISIBLE, Mps
from engine.sweep.planned import PlannedRun, different
from engine.sweep.processes import Processes, devices_of
from engine.sweep.queue import Queue
from engine.sweep.records import Records


def main(argv: Sequence[str]) -> int:
    """The command: show the plan, show the results, or run."""
    args = arguments.read(argv)
    warn(*args.warnings)
    if "dry-run" in args.flags:
        return show_plan(args)
    if "summary" in args.flags:
        return show_results(args, Records(args.root))
    with Stop() as stop, output.dropping("stdout"):
        return run(args, stop)


def run(args: Arguments, stop: Stop) -> int:
    """Train every run that is not finished; returns the exit code."""
    rates: dict[str, Rates] = {}
    if args.flags.get("on") is None:
        device.select(args.settings.runtime)  # one that is not there is refused before all else
        rates = {} if "quiet" in args.flags else measured_rates(args)  # while nothing is training
    records = Records(args.root)
    args = args.with_results(records)
    retry = "retry-failed" in args.flags
    with Queue(args.folder, warn) as claims, place_of(args, stop, rates) as executor:
        while True:
            code = run_ready(args, stop, claims, records, executor, rates, retry=retry)
            records.refresh()
            before, args = waiting(args), args.with_results(records)
            if code == RESUMABLE or len(waiting(args)) == len(before):
                break
            retry = False
    if code == RESUMABLE:
        runs = different(args.runs)
        done = sum(records.finished(run.fingerprint) is not None for run in runs)
        warn(f"stopped with {done} of {len(runs)} runs done; the same command continues")
        return code
    show_results(args, records)
    show_set_aside(args)
    for each in waiting(args):
        warn(f"{each.name}: not begun: {each.weights_from}, whose weights it needs, has no result")
    return FAILED if waiting(args) else code


def run_ready(
    args: Arguments,
    stop: Stop,
    claims: Queue,
    records: Records,
    executor: Executor,
    rates: Mapping[str, Rates],
    *,
    retry: bool,
) -> int:
    """Train the runs that wait for no other run's weights; returns the exit code."""
    runs = ordered([each for each in different(args.runs) if not each.waiting])
    with claims.alone():
        atomic.write_lines(args.folder / "plan.json", args.plan.lines())
    names = {each.fingerprint: each.name for each in runs}
    finished = {f for f in names if records.finished(f) is not None}
    claims.enrol(names, finished, retry=retry)
    quiet = "quiet" in args.flags
    with LiveView(runs, records, rates, lambda: executor.slots, quiet=quiet) as live:
        later = f", {len(waiting(args))} more after them" if waiting(args) else ""
        live.note(f"{len(runs)} runs, {len(finished)} done before{later}; {args.folder}")
        return Driver(
            runs, claims, records, executor, live, stop,
            retries=args.flags.get("retries", 1), logs=args.folder / "logs",
        ).run()  # fmt: skip


def waiting(args: Arguments) -> list[PlannedRun]:
    """The runs that start from the weights of a run without a result."""
    return [each for each in different(args.runs) if each.waiting]


@contextlib.contextmanager
def place_of(args: Arguments, stop: Stop, rates: dict[str, Rates]) -> Iterator[Executor]:
    """Where the runs are executed: on this machine, or on those of a Ray cluster.

    The rates of such machines, which are not known before, are added to `rates`.
    """
    address = args.flags.get("on")
    if address is None:
        with sharing(args) as mps:
            yield executor_of(args, stop, mps)
        return
    try:
        from engine.sweep.on_ray import OnRay
    except ModuleNotFoundError as error:
        raise UserError(f"--on ray: needs {error.name}: pip install 'ffcv-engine[ray]'") from None
    paths = [path for run in args.runs for path in (run.config.data.train, run.config.data.test)]
    with OnRay(
        address,
        agents=args.flags.get("agents", 0),
        jobs=args.flags.get("jobs", 0),
        folder=args.folder,
        data={path: args.data.file(path, 0).sha256 for path in dict.fromkeys(paths)},
        sample=largest(args.runs),
        precisions=[] if "quiet" in args.flags else precisions_of(args),
        rates=rates,
        note=warn,
    ) as executor:
        yield executor


@contextlib.contextmanager
def sharing(args: Arguments) -> Iterator[Mps | None]:
    """What lets processes run on a GPU at the same time, where `--share` asks for it."""
    if args.flags.get("share", SLICES) == SLICES:
        yield None
        return
    if device.is_cpu(args.settings.runtime):
        raise UserError("--share mps: of a GPU, and these runs are on a CPU; leave it out")
    with Mps(devices_here(args), torch.cuda.device_count(), args.folder / "mps") as mps:
        yield mps


def executor_of(args: Arguments, stop: Stop, mps: Mps | None) -> Executor:
    """This process, or `--jobs` processes per device."""
    folder, cores, jobs = (
        args.folder / "configs",
        len(os.sched_getaffinity(0)),
        args.flags.get("jobs", 0),
    )
    if jobs == arguments.AUTO:
        cache = Path(args.settings.runtime.cache or args.root / ".cache")
        share = args.flags.get("share", SLICES)
        jobs = packing.jobs_here(largest(args.runs), cores, cache, share)
    if jobs == 0:
        return InProcess(train.train, stop, Processes(folder, [None], 1, cores))
    return Processes(folder, devices_here(args), jobs, cores, mps)


def devices_here(args: Arguments) -> list[str | None]:
    """The devices of this machine that runs are spread over."""
    wanted = args.settings.runtime.device
    return devices_of(wanted, torch.cuda.device_count(), os.environ.get(VISIBLE))


def largest(runs: Sequence[PlannedRun]) -> Config:
    """The configuration of the run whose steps need the most memory."""
    networks = {(run.variant, run.config.train.batch_size): run.config for run in runs}
    return max(networks.values(), key=packing.activation_bytes)


def show_plan(args: Arguments) -> int:
    """Every run with its state and cost."""
    records = Records(args.root)
    args = args.with_results(records)
    speeds = Speeds(records.all(), measured_rates(args, dry=True))
    overview = Overview(args.runs, records, queue_rows.peek(args.folder), speeds)
    if "json" in args.flags:
        print(json.dumps(overview.content(args.plan), indent=2, allow_nan=False))
    else:
        print(overview.text())
    return OK


def show_results(args: Arguments, records: Records) -> int:
    """The results of the finished runs, and which runs have none."""
    args = args.with_results(records)
    selected = results.select(args.runs, records, queue_rows.peek(args.folder))
    if "json" in args.flags:
        content = results.content(args.plan, selected)
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        print(results.table(selected))
    warn(*(f"warning: {problem}; left out" for problem in records.broken.values()))
    return OK


def show_set_aside(args: Arguments) -> None:
    """The runs that failed too often, with the last lines of their output."""
    rows = queue_rows.peek(args.folder)
    for run in different(args.runs):
        row = rows.get(run.fingerprint)
        if row is not None and row.state == queue_rows.SET_ASIDE:
            log = args.folder / "logs" / f"{run.folder}.log"
            warn(f"{run.name}: set aside after {row.attempts} failures ({log}); its last lines:")
            warn(*(f"    {line}" for line in row.error.splitlines()))
            warn("  try it again with: --retry-failed")


def warn(*lines: str) -> None:
    """Lines for the person at the terminal."""
    for line in lines:
        print(line, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
