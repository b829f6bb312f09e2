"""What the command line asks of a sweep; its problems and those of the files are told at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config import options
from engine.config.fields import option, section
from engine.config.options import Flag
from engine.config.schema import Checkpoint, Data, Runtime
from engine.config.wording import did_you_mean, shown
from engine.errors import UserError
from engine.sweep.data import DataFiles
from engine.sweep.files import read_files
from engine.sweep.plan import Plan, PlannedRun, Overrides, make_plan, selected

PROGRAM = "python -m engine.sweep"
SUMMARY = (
    "Train every run of one or more sweep files. What is done is not done again, what was stopped "
    "goes on at its exact step: the same command continues. Settings given here hold for all runs."
)
MOST_SEEDS, MOST_JOBS, MOST_RETRIES = 10_000, 1024, 1000
LEAST_SCALE = 1e-4

FLAGS = (
    Flag("sweep-file", "YAML file of experiments, such as configs/sweeps/reports.yaml", "FILE",
         needs=True, many=True),
    Flag("only", "only runs whose name, experiment or report matches", "GLOB",
         needs=True, many=True),
    Flag("seeds", "train each run from the seeds 0 to N-1, in place of the files' seeds", "N",
         needs=True),
    Flag("epochs-scale", "a rehearsal: every length in epochs times F, at least one epoch", "F",
         needs=True),
    Flag("jobs", "processes a device; 0 (the default): one run after another in this process, "
         "where runs of one architecture share compiled code", "N", needs=True),
    Flag("retries", "times that a failed run is tried again before it is set aside (default 1)",
         "N", needs=True),
    Flag("retry-failed", "try the runs again that were set aside"),
    Flag("dry-run", "show what would run, what is done, the cost; write nothing"),
    Flag("summary", "show the results so far and run nothing"),
    Flag("json", "print the plan (--dry-run) or the results as JSON"),
    Flag("quiet", "print the results only"),
    Flag("resume", "go on where the sweep stopped; always done, given or not"),
)  # fmt: skip


@dataclass(frozen=True)
class Where:
    """Where the runs are written."""

    root: str = option("runs", "folder of all runs; the sweep's own is below it, in sweeps/")


@dataclass(frozen=True)
class Settings:
    """The settings that a sweep takes from its command line; the others are its files'."""

    data: Data = section(Data)
    runtime: Runtime = section(Runtime)
    run: Where = section(Where)
    checkpoint: Checkpoint = section(Checkpoint)


@dataclass(frozen=True)
class Arguments:
    """A checked command."""

    plan: Plan
    runs: list[PlannedRun]  # those that --only leaves
    root: Path
    settings: Settings
    jobs: int
    retries: int
    flags: Mapping[str, str | bool]
    warnings: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Of the sweep itself."""
        return self.root / "sweeps" / self.plan.name


def ask(argv: Sequence[str]) -> Arguments:
    """Read the command line and the sweep files; all problems are raised together."""
    parsed, problems = options.collect(
        Settings, argv, program=PROGRAM, summary=SUMMARY, flags=FLAGS
    )
    flags = parsed.flags
    seeds = _whole(flags, "seeds", 0, 1, MOST_SEEDS, problems)
    jobs = _whole(flags, "jobs", 0, 0, MOST_JOBS, problems)
    retries = _whole(flags, "retries", 1, 0, MOST_RETRIES, problems)
    scale = _scale(flags, problems)
    problems += _contradictions(flags)
    paths = [Path(text) for text in parsed.lists.get("sweep-file", [])]
    if not paths and not any("--sweep-file" in problem for problem in problems):
        problems.append("--sweep-file: missing; expected the name of a YAML file after it")
    sheet = read_files(paths)
    problems += sheet.problems
    files = DataFiles()
    overrides = Overrides(parsed.entries, tuple(range(seeds)) if seeds else None, scale)
    plan = make_plan(paths, sheet, overrides, files, problems)
    only = parsed.lists.get("only", [])
    problems += _unmatched(only, plan.runs) if not problems else []
    shows = not flags.keys().isdisjoint({"dry-run", "summary"})
    if not shows:
        problems += files.missing.values()
    if problems:
        raise UserError(*dict.fromkeys(problems))
    return Arguments(
        plan,
        selected(plan.runs, only),
        Path(parsed.config.run.root),
        parsed.config,
        jobs,
        retries,
        flags,
        tuple(f"{problem}; counted as CIFAR-10" for problem in files.missing.values()),
    )


def _whole(
    flags: Mapping[str, str | bool],
    name: str,
    default: int,
    low: int,
    high: int,
    problems: list[str],
) -> int:
    text = flags.get(name)
    if not isinstance(text, str):
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        wanted = f"expected a whole number, {low} to {high:,}"
        problems.append(f"--{name} {shown(text)}: {wanted}")
        return default
    return int(text)


def _scale(flags: Mapping[str, str | bool], problems: list[str]) -> float:
    text = flags.get("epochs-scale")
    if not isinstance(text, str):
        return 1.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not LEAST_SCALE <= value <= 100:
        wanted = f"expected a factor, {LEAST_SCALE:g} to 100, such as 0.05"
        problems.append(f"--epochs-scale {shown(text)}: {wanted}")
        return 1.0
    return value


def _contradictions(flags: Mapping[str, str | bool]) -> list[str]:
    found = []
    if "dry-run" in flags and "summary" in flags:
        found.append("--summary: shows results, --dry-run the plan; keep one")
    if "retry-failed" in flags and not flags.keys().isdisjoint({"dry-run", "summary"}):
        found.append("--retry-failed: nothing is tried with --dry-run or --summary")
    return found


def _unmatched(globs: Sequence[str], runs: Sequence[PlannedRun]) -> list[str]:
    names = list(dict.fromkeys(name for run in runs for name in (run.experiment, run.point)))
    return [
        f"--only {shown(glob)}: no run, experiment or report of that name"
        + did_you_mean(glob, names)
        for glob in globs
        if not selected(runs, [glob])
    ]
