"""Whole runs of `engine.train`, and of the loop of the reports.

Of the reports' loop a few epochs are measured; the time of the whole is scaled from those, and
marked as such.
"""

from __future__ import annotations

import shlex
import statistics

from benchmarks.measuring import whole_run
from benchmarks.measuring.results import Unavailable
from benchmarks.step.benchmark import StepBenchmark

EPOCHS, QUICK_EPOCHS = 200, 3
SHORT_EPOCHS = 10
EVERY = "--checkpoint.seconds_apart 0"  # a checkpoint after each epoch
BOUNDARIES = {
    "defaults": "",
    "evaluation compiled": "--runtime.compile_evaluation true",
    "a checkpoint per epoch": EVERY,
    "a checkpoint per epoch, copied tensor by tensor": f"{EVERY} --runtime.copy_at_once false",
}
REPORTS_EPOCHS, QUICK_REPORTS_EPOCHS = 3, 2  # the first, in which cuDNN chooses, is not scaled
AT_MOST = 440.0  # seconds of a whole run


def whole(bench: StepBenchmark) -> None:
    """200 epochs with an evaluation each, by what their time was spent on."""
    with bench.missing_if_it_fails("whole_seconds"):
        _ours(bench, _epochs(bench))


def boundaries(bench: StepBenchmark) -> None:
    """Short runs by what an epoch's time was spent on, with the switches for its end each way."""
    epochs = str(QUICK_EPOCHS if bench.quick else SHORT_EPOCHS)
    for name, flags in bench.some(BOUNDARIES).items():
        with bench.missing_if_it_fails(f"boundaries: {name}"):
            bench.say(f"  {bench.network}: {epochs} epochs, {name}")
            words = ["--train.epochs", epochs, *_usual(bench), *shlex.split(flags)]
            cache = bench.cache / "boundaries"
            run = whole_run.run(
                bench.network, bench.path, bench.device, *words, seconds=AT_MOST, cache=cache
            )
            split = run["split"] or {}
            row = {f"{kind}, ms": 1e3 * s / run["epochs"] for kind, s in split.items()}
            row["usual epoch, ms"] = 1e3 * run["usual_epoch_seconds"]
            bench.row("an epoch of short runs", {"what": name, **row})


def reports(bench: StepBenchmark) -> None:
    """A few epochs of the reports' loop, scaled to 200."""
    with bench.missing_if_it_fails("reports_loop_seconds_scaled"):
        _reports_loop(bench, _epochs(bench))


def _epochs(bench: StepBenchmark) -> int:
    return QUICK_EPOCHS if bench.quick else EPOCHS


def _usual(bench: StepBenchmark) -> list[str]:
    batch, threads = str(bench.batch_size), str(bench.threads)
    return ["--train.batch_size", batch, "--runtime.threads", threads]


def _ours(bench: StepBenchmark, epochs: int) -> None:
    bench.say(f"  {bench.network}: {epochs} epochs in a process of its own")
    flags = ["--train.epochs", str(epochs), *_usual(bench)]
    where = bench.network, bench.path, bench.device
    cache = bench.cache if bench.quick else None
    run = whole_run.run(*where, *flags, seconds=AT_MOST, cache=cache)
    bench.results.details["whole_run"] = run
    bench.results.figure("whole_seconds", run["wall_seconds"])
    bench.results.figure("whole_seconds_without_compiling", run["without_compiling_seconds"])
    bench.results.figure("whole_test_accuracy", run["test_accuracy"])
    for kind, seconds in (run["split"] or {}).items():
        share = seconds / sum(run["split"].values())
        bench.row("a whole run", {"spent on": kind, "s": seconds, "share": share})


def _reports_loop(bench: StepBenchmark, epochs: int) -> None:
    try:
        from benchmarks.step.peers import reports_loop
    except ImportError as error:
        raise Unavailable(f"the reports' loop: {error}") from None
    count = QUICK_REPORTS_EPOCHS if bench.quick else REPORTS_EPOCHS
    bench.say(f"  the reports' loop: {count} epochs")
    times = reports_loop.epochs(bench.workload(bench.network), count)
    usual = statistics.median(times[1:])
    bench.results.details["reports_loop"] = {
        "variant": bench.network,
        "epoch_seconds": times,
        "scaled": f"{epochs} times {usual:.2f} s, the median of all epochs but the first",
    }
    bench.results.figure("reports_loop_seconds_scaled", usual * epochs)
    ours = bench.results.value("whole_seconds")
    if ours is not None:
        bench.results.figure("whole_ratio_vs_reports_loop_scaled", usual * epochs / ours)
