"""Who is measured: our configurations, a report's recipe, and the peers whose folders are given."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.accuracies.time_to.peers import Task, airbench, ffcv_example, foreign, ours
from benchmarks.accuracies.time_to.records import AIRBENCH, FFCV, OURS, REPORT
from engine.config.fingerprint import fingerprint
from engine.data import sidecar
from engine.errors import UserError

LENGTHS = (8, 10, 12, 16)  # epochs of airbench; 8 are published
REHEARSED = {"ours": 0.1, "airbench": 2, "ffcv": 1}  # epochs of a rehearsal
PER_EPOCH = {"airbench": 0.0354, "ffcv": 0.0874}  # PFLOPs on CIFAR-10, for the plan alone
EVALUATED = {"airbench": (0.0024, 6), "ffcv": (0.0175, 0)}  # PFLOPs after an epoch; more at the end
FFCV_EPOCHS = 24


@dataclass(frozen=True)
class Contender:
    """One setting, trained with several seeds."""

    name: str  # of its files
    label: str
    family: str
    task: Task  # of seed 0
    setting: str  # a digest of all that its result depends on besides the seed
    petaflops: float  # about, for the plan: training and evaluations

    @property
    def is_cut(self) -> bool:
        """Whether it trains only as long as ours took."""
        return self.family == REPORT


def contenders(args: argparse.Namespace, train: Path, machine: str) -> list[Contender]:
    """All that the arguments ask for, ours first."""
    usual = Task("", str(train), args.device, args.threads, 0)
    conditions = [machine, str(args.threads), _digest_of(train), "tiny" if args.rehearse else ""]
    found = [
        _ours(config, usual, conditions, OURS, args.rehearse) for config in args.config
    ]  # fmt: skip
    if args.airbench is not None:
        found += _airbench(args.airbench, args.airbench_epochs, usual, conditions, args.rehearse)
    if args.ffcv is not None:
        found.append(_ffcv(args.ffcv, usual, conditions, args.rehearse))
    if args.report is not None:
        found.append(_ours(args.report, usual, conditions, REPORT, args.rehearse))
    names = [each.name for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two configurations are called {', '.join(twice)}: rename a file")
    return found


def rounds(found: Sequence[Contender], count: int) -> Iterator[tuple[Contender, int]]:
    """Who runs after whom: a run of each per round, who begins moves on; the cut ones come last."""
    whole = [each for each in found if not each.is_cut]
    for seed in range(count):
        at = seed % len(whole)
        for contender in (*whole[at:], *whole[:at], *(each for each in found if each.is_cut)):
            yield contender, seed


def _ours(config: Path, usual: Task, conditions: list[str], family: str, tiny: bool) -> Contender:
    if not config.is_file():
        raise UserError(f"{config}: no such file")
    epochs = REHEARSED["ours"] if tiny else 0.0
    words = ("--config-file", str(config.resolve()))
    task = replace(usual, kind="ours", words=words, epochs=epochs)
    settings = ours.read(task)
    name = f"{'report' if family == REPORT else 'ours'}-{config.stem}"
    return Contender(
        name,
        f"{family}: {config.stem}",
        family,
        task,
        _setting([*conditions, fingerprint(settings, {"train": "", "test": ""}), family]),
        ours.planned_petaflops(settings, Path(usual.train)) * 1.05,  # evaluations
    )


def _airbench(
    checkout: Path, lengths: Sequence[int], usual: Task, conditions: list[str], tiny: bool
) -> Iterator[Contender]:
    foreign.read(checkout, airbench.SCRIPT)
    for epochs in lengths:
        trained = REHEARSED["airbench"] if tiny else epochs
        task = replace(
            usual, kind="airbench", checkout=str(checkout.resolve()), epochs=float(trained)
        )
        note = ", as published" if epochs == airbench.PUBLISHED else ""
        evaluation, final = EVALUATED["airbench"]
        yield Contender(
            f"airbench-{epochs}",
            f"{AIRBENCH}: {epochs} epochs{note}",
            AIRBENCH,
            task,
            _setting([*conditions, airbench.SCRIPT.sha256, str(epochs)]),
            epochs * PER_EPOCH["airbench"] + (epochs + final) * evaluation,
        )


def _ffcv(checkout: Path, usual: Task, conditions: list[str], tiny: bool) -> Contender:
    for script in (ffcv_example.SCRIPT, ffcv_example.RECIPE):
        foreign.read(checkout, script)
    epochs = REHEARSED["ffcv"] if tiny else FFCV_EPOCHS
    digests = [ffcv_example.SCRIPT.sha256, ffcv_example.RECIPE.sha256]
    evaluations = EVALUATED["ffcv"][0] * FFCV_EPOCHS / 2
    return Contender(
        "ffcv",
        f"{FFCV}: {FFCV_EPOCHS} epochs",
        FFCV,
        replace(usual, kind="ffcv", checkout=str(checkout.resolve()), epochs=float(epochs)),
        _setting([*conditions, *digests]),
        FFCV_EPOCHS * PER_EPOCH["ffcv"] + evaluations,
    )


def _digest_of(train: Path) -> str:
    known = sidecar.read(train)
    if known is None:
        raise UserError(f"{train}: has no sidecar; write it again with: python writers/cifar.py")
    return known.sha256


def _setting(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()
