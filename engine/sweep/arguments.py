"""The command line of a sweep; its problems and those of the sweep files are raised together."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.config import options
from engine.config.fields import option, section
from engine.config.options import Flag
from engine.config.readers import number, one_of, unexpected, whole
from engine.config.schema import Checkpoint, Data, Runtime
from engine.config.wording import did_you_mean, shown
from engine.errors import UserError
from engine.sweep.data import DataFiles
from engine.sweep.files import read_files
from engine.sweep.mps import MOST, MPS, SLICES
from engine.sweep.plan import Overrides, make_plan, selected
from engine.sweep.planned import Plan, PlannedRun
from engine.sweep.records import Records
from engine.sweep.weights import with_results

PROGRAM = "python -m engine.sweep"
AUTO = -1  # the value of `--jobs auto`
SUMMARY = (
    "Train every run of one or more sweep files. Finished runs are skipped, stopped ones continue "
    "at their exact step: run the same command again to continue. Settings given here apply to all "
    "runs."
)


def _jobs(text: str) -> int:
    if text == "auto":
        return AUTO
    try:
        return whole(0, 1024)(text)
    except ArgumentTypeError:
        raise unexpected(text, "a whole number, 0 to 1,024, or auto") from None


def _place(text: str) -> str | None:
    """The address of a Ray cluster, empty for one made here; None: on this machine, as ever."""
    if text == "here":
        return None
    name, _, address = text.partition(":")
    if name != "ray" or (":" in text and not address):
        raise unexpected(text, "here, ray or ray:HOST:PORT")
    return address


FLAGS = (
    Flag("sweep-file", "YAML file of experiments, such as configs/sweeps/reports.yaml", "FILE",
         needs=True, many=True),
    Flag("only", "only runs whose name, experiment or report matches", "GLOB",
         needs=True, many=True),
    Flag("seeds", "train each run with the seeds 0 to N-1, instead of the files' seeds", "N",
         needs=True, read=whole(1, 10_000)),
    Flag("epochs-scale", "a rehearsal: every length in epochs times F, at least one epoch", "F",
         needs=True, read=number(1e-4, 100, "0.05")),
    Flag("jobs", "processes per device; 0 (the default): one run after another in this process, "
         "where runs of one architecture share compiled code; auto: as many as its cores or its "
         "memory allow", "N", needs=True, read=_jobs),
    Flag("share", "how the processes of --jobs share a GPU: slices (the default: they take turns) "
         "or mps (they run at the same time, by NVIDIA's Multi-Process Service, which runs as long "
         "as the sweep)", "HOW", needs=True, read=one_of(SLICES, MPS)),
    Flag("on", "where the runs are executed: here (the default), ray (a Ray on this machine) or "
         "ray:HOST:PORT (a cluster by its head)", "PLACE", needs=True, read=_place),
    Flag("agents", "with --on: GPUs, or machines without them, to use or to wait for (default: "
         "those that are there)", "N", needs=True, read=whole(1, 100_000)),
    Flag("retries", "how often a failed run is tried again before it is set aside (default 1)",
         "N", needs=True, read=whole(0, 1000)),
    Flag("retry-failed", "try the runs again that were set aside"),
    Flag("dry-run", "show every run with its state and cost; write nothing"),
    Flag("summary", "show the results so far; run nothing"),
    Flag("json", "print the plan (--dry-run) or the results as JSON"),
    Flag("quiet", "print the results only"),
    Flag("resume", "continue where the sweep stopped; always done, given or not"),
)  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """Where the runs are written."""

    root: str = option("runs", "folder of all runs; the sweep's own is below it, in sweeps/")


@dataclass(frozen=True)
class Settings:
    """The settings that a sweep takes from its command line; the others are its files'."""

    data: Data = section(Data)
    runtime: Runtime = section(Runtime)
    run: Runs = section(Runs)
    checkpoint: Checkpoint = section(Checkpoint)


@dataclass(frozen=True)
class Arguments:
    """A checked command line."""

    plan: Plan
    runs: list[PlannedRun]  # those that --only selects
    settings: Settings
    flags: Mapping[str, Any]
    warnings: tuple[str, ...]
    data: DataFiles

    def with_results(self, records: Records) -> Arguments:
        """The same with the weights of finished runs that others start from."""
        plan = with_results(self.plan, records, self.data)
        chosen = {run.name for run in self.runs}
        runs = [run for run in plan.runs if run.name in chosen]
        return replace(self, plan=plan, runs=runs)

    @property
    def root(self) -> Path:
        """The folder of all runs."""
        return Path(self.settings.run.root)

    @property
    def folder(self) -> Path:
        """The folder of the sweep itself."""
        return self.root / "sweeps" / self.plan.name


def read(argv: Sequence[str]) -> Arguments:
    """Read the command line and the sweep files; all problems are raised together."""
    problems: list[str] = []
    parsed = options.read(
        Settings, argv, program=PROGRAM, summary=SUMMARY, flags=FLAGS, problems=problems
    )
    flags = parsed.flags
    problems += _contradictions(flags)
    paths = [Path(text) for text in flags.get("sweep-file", [])]
    if not paths and not any("--sweep-file" in problem for problem in problems):
        problems.append("--sweep-file: missing; expected the name of a YAML file after it")
    sweep_files = read_files(paths)
    problems += sweep_files.problems
    data = DataFiles()
    seeds = tuple(range(flags["seeds"])) if "seeds" in flags else None
    overrides = Overrides(parsed.entries, seeds, flags.get("epochs-scale", 1.0))
    plan = make_plan(paths, sweep_files, overrides, data, problems)
    only = flags.get("only", [])
    problems += _unmatched(only, plan.runs) if not problems else []
    if flags.keys().isdisjoint({"dry-run", "summary"}):
        problems += data.missing.values()
    if problems:
        raise UserError(*dict.fromkeys(problems))
    warnings = tuple(f"{problem}; CIFAR-10 is assumed" for problem in data.missing.values())
    return Arguments(plan, selected(plan.runs, only), parsed.config, flags, warnings, data)


def _contradictions(flags: Mapping[str, Any]) -> list[str]:
    problems = []
    if "dry-run" in flags and "summary" in flags:
        problems.append("--summary: shows results, --dry-run the plan; keep one")
    if "agents" in flags and flags.get("on") is None:
        problems.append("--agents: of a Ray cluster; give --on ray:HOST:PORT too")
    if flags.get("share") == MPS:
        if flags.get("on") is not None:
            problems.append(
                "--share mps: of this machine's GPUs; with --on start MPS on the machines"
            )
        elif flags.get("jobs", 0) == 0:
            problems.append("--share mps: of several processes; give --jobs N or --jobs auto too")
        elif flags["jobs"] > MOST:
            problems.append(f"--share mps: serves {MOST} processes per GPU at most")
    if "retry-failed" in flags and not flags.keys().isdisjoint({"dry-run", "summary"}):
        problems.append("--retry-failed: nothing runs with --dry-run or --summary; keep one")
    return problems


def _unmatched(globs: Sequence[str], runs: Sequence[PlannedRun]) -> list[str]:
    names = list(dict.fromkeys(name for run in runs for name in (run.experiment, run.point)))
    return [
        f"--only {shown(glob)}: no run, experiment or report of that name"
        + did_you_mean(glob, names)
        for glob in globs
        if not selected(runs, [glob])
    ]
