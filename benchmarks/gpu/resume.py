"""Killed and stopped runs on the real network: `python -m benchmarks.gpu.resume --data TRAIN`.

In exact mode a run is killed in its second epoch, another is asked to stop there, and both are
continued: their weights must equal those of a run that nothing happened to, bit for bit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.runs import Engine, checked, parser_of
from benchmarks.measuring.child import ROOT, cache_variables
from benchmarks.measuring.command import narrator
from engine import atomic
from engine.columns import columns
from engine.errors import FAILED, OK, RESUMABLE, RunFailed, run_command

PROGRAM = "python -m benchmarks.gpu.resume"
EPOCHS, QUICK_EPOCHS = 3, 12  # epochs of tens of milliseconds, and still one to be interrupted in
AT_MOST = 150.0  # seconds of a run, or until its first epoch
POLL, INTO = 0.02, 0.3  # seconds: between looks at the log, and into the second epoch
SIGNALS = {"killed": signal.SIGKILL, "stopped": signal.SIGTERM}


def main(argv: Sequence[str]) -> int:
    """The command."""
    args = checked(parser_of(PROGRAM, __doc__), argv)
    say = narrator()
    results: dict[str, Any] = {"exact": True, "epochs": _epochs(args.quick), "runs": {}}
    with tempfile.TemporaryDirectory(prefix="resume-") as folder:
        root = Path(folder)
        engine = Engine(args.data, args.device, root, args.cache or root / "cache", args.quick)
        for name in ("whole", *SIGNALS):
            say(name)
            results["runs"][name] = _run(engine, name)
            whole = results["runs"]["whole"]["weights_sha256"]
            results["runs"][name]["same_weights"] = results["runs"][name]["weights_sha256"] == whole
            if args.json:
                atomic.write_json(args.json, results)
    rows = [
        (name, f"{each['seconds']:.0f} s", f"{each['epochs_before']} epochs before",
         "the same bits" if each["same_weights"] else "OTHER BITS")
        for name, each in results["runs"].items()
    ]  # fmt: skip
    sys.stdout.write(columns(("run", "in all", "interrupted after", "weights"), rows) + "\n")
    return OK if all(each["same_weights"] for each in results["runs"].values()) else FAILED


def _epochs(quick: bool) -> int:
    return QUICK_EPOCHS if quick else EPOCHS


def _settings(engine: Engine) -> list[str]:
    length = ["--train.epochs", str(_epochs(engine.quick)), "--checkpoint.seconds_apart", "0"]
    return [*length, "--runtime.exact", "true", "--quiet"]


def _run(engine: Engine, name: str) -> dict[str, Any]:
    began, before = time.monotonic(), 0
    if name in SIGNALS:
        before = _interrupted(engine, name, SIGNALS[name])
    outcome = engine.train(name, *_settings(engine), seconds=AT_MOST)
    if outcome.code != OK:
        raise RunFailed(f"{name}: exit {outcome.code}", *outcome.lines)
    return {
        "seconds": time.monotonic() - began,
        "epochs_before": before,
        "weights_sha256": engine.record(name)["weights_sha256"],
        "test_accuracy": engine.record(name)["test_accuracy"],
    }


def _interrupted(engine: Engine, name: str, number: signal.Signals) -> int:
    """Start a run and send it a signal in its second epoch; the epochs that it had ended."""
    environment = os.environ | cache_variables(engine.cache) | {"PYTHONPATH": _path()}
    command = [sys.executable, *engine.command(name, *_settings(engine))]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until = time.monotonic() + AT_MOST * engine.patience
            while not engine.log(name) and process.poll() is None and time.monotonic() < until:
                time.sleep(POLL)
            time.sleep(min(INTO, engine.log(name)[0]["seconds"] / 10) if engine.log(name) else 0)
            process.send_signal(number)
            code = process.wait(AT_MOST * engine.patience)
        except BaseException:
            process.kill()
            raise
    done = len(engine.log(name))
    if code not in (-signal.SIGKILL, RESUMABLE) or not 0 < done < _epochs(engine.quick):
        raise RunFailed(f"{name}: not interrupted in time: exit {code} after {done} epochs")
    return done


def _path() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


if __name__ == "__main__":
    raise SystemExit(run_command(main))
