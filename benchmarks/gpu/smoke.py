"""Whether everything works at all, in four minutes: `python -m benchmarks.gpu.smoke --data TRAIN`.

The machine and what it reaches in a matrix product and a copy; then the network of five million
parameters for two epochs, eager, then graphed, then compiled and graphed; then `--profile` with its
trace. It stops at the first failure, with the end of what the failed process printed.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import card
from benchmarks.gpu.runs import Engine, Outcome, checked, parser_of
from benchmarks.measuring import machine
from benchmarks.measuring.command import narrator
from engine import atomic
from engine.columns import columns
from engine.errors import FAILED, OK, run_command
from engine.step.device import Machine, has_bf16_units
from engine.step.rates import measured

PROGRAM = "python -m benchmarks.gpu.smoke"
EPOCHS = 2
MODES = {  # the flags of each, on a GPU
    "eager": ("--runtime.compile", "false", "--runtime.graph", "false"),
    "graphed": ("--runtime.compile", "false", "--runtime.graph", "true"),
    "compiled and graphed": ("--runtime.compile", "true", "--runtime.graph", "true"),
}
AT_MOST = 150.0  # seconds of a step
TRACE = "trace.json.gz"  # beside the results


def main(argv: Sequence[str]) -> int:
    """The command."""
    args = checked(parser_of(PROGRAM, __doc__), argv)
    with tempfile.TemporaryDirectory(prefix="smoke-") as folder:
        root = Path(folder)
        engine = Engine(args.data, args.device, root, args.cache or root / "cache", args.quick)
        smoke = Smoke(engine, args.json, narrator())
        code = smoke.run()
    sys.stdout.write(smoke.text())
    return code


@dataclass
class Smoke:
    """The steps so far; each is written down as soon as it has ended."""

    engine: Engine
    target: Path | None
    say: Callable[[str], None]
    steps: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def run(self) -> int:
        """All steps, up to the first that fails."""
        steps: dict[str, Callable[[], dict[str, Any]]] = {"the machine": self._machine}
        for name, flags in MODES.items():
            steps[name] = partial(self._epochs, name, *flags)
        steps["profile"] = self._profile
        names = list(steps)
        for number, name in enumerate(names):
            self.say(name)
            try:
                content = steps[name]()
            except Exception as error:  # any: the first failure is what this is for
                content = {"error": [f"{type(error).__name__}: {error}"]}
            failed = "error" in content
            self.left_out = [f"{each}, after a failure" for each in names[number + 1 :] if failed]
            self.steps.append({"step": name, "ok": not failed, **content})
            self._save()
            if failed:
                return FAILED
        return OK

    def text(self) -> str:
        """A line per step; the whole error of one that failed; the profile's table."""
        rows = [
            (each["step"], "ok" if each["ok"] else "FAILED", _figures(each)) for each in self.steps
        ]
        parts = [columns(("smoke", "", ""), rows, right=set())]
        for each in self.steps:
            parts += ["\n".join(each[key]) for key in ("table", "error") if key in each]
        parts += [f"left out: {each}" for each in self.left_out]
        return "\n\n".join(parts) + "\n"

    def _machine(self) -> dict[str, Any]:
        device = self.engine.device
        precision = "bf16" if has_bf16_units(torch.device(device)) else "fp32"
        before = card.state(device)
        rates = measured(
            Machine(torch.device(device), precision, compile=False), machine.cores(), None
        )
        return {
            "card": before,
            "card_after_the_product": card.state(device),
            "software": card.software(device),
            "machine": machine.describe(device),
            "product_tflops": rates.product / 1e12,
            "copy_terabytes_per_second": rates.copy / 1e12,
            "precision": precision,
        }

    def _epochs(self, name: str, *flags: str) -> dict[str, Any]:
        words = () if self.engine.device == "cpu" else flags
        run = name.replace(" ", "-")
        length = ("--train.epochs", str(EPOCHS))
        outcome = self.engine.train(run, *length, *words, "--quiet", seconds=AT_MOST)
        if outcome.code != OK:
            return _failure(outcome)
        log, record = self.engine.log(run), self.engine.record(run)
        return {
            "seconds": outcome.seconds,
            "images_per_second": [line["images_per_second"] for line in log],
            "train_loss": [line["train_loss"] for line in log],
            "test_accuracy": record["test_accuracy"],
            "precision": record["precision"],
        }

    def _profile(self) -> dict[str, Any]:
        outcome = self.engine.train("profile", "--profile", seconds=AT_MOST)
        if outcome.code != OK:
            return _failure(outcome)
        folder = self.engine.folder("profile") / "profile"
        if self.target is not None:
            packed = gzip.compress((folder / "trace.json").read_bytes(), 6)
            atomic.write_bytes(self.target.with_name(TRACE), packed)
        table = (folder / "table.txt").read_text(encoding="utf-8").splitlines()
        return {"seconds": outcome.seconds, "table": table}

    def _save(self) -> None:
        if self.target is not None:
            atomic.write_json(self.target, {"steps": self.steps, "left_out": self.left_out})


def _failure(outcome: Outcome) -> dict[str, Any]:
    return {"seconds": outcome.seconds, "exit": outcome.code, "error": outcome.lines}


def _figures(step: dict[str, Any]) -> str:
    if "product_tflops" in step:
        name = step["card"].get("name", step["machine"]["cpu"])
        return (
            f"{name}: {step['product_tflops']:.4g} TFLOP/s, "
            f"{step['copy_terabytes_per_second']:.3g} TB/s"
        )
    parts = [f"{step['seconds']:.0f} s"]
    if "images_per_second" in step:
        parts += [
            f"{step['images_per_second'][-1]:,.0f} images/s in the last epoch",
            f"loss {step['train_loss'][-1]:.3f}",
            f"test {100 * step['test_accuracy']:.2f} %",
        ]
    return ", ".join(parts)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
