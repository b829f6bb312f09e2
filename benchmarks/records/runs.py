"""A run's folder as it lies there: whole, running, half-written, damaged or of another format.

Nothing in it is trusted, and nothing in it stops the reading of the others: what is missing or
wrong is None, and `problems` says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.records.untrusted import clean, parsed, plain, read_object, read_text, shown
from engine.errors import UserError

FORMAT = 1  # of the records that this reads whole
STATUSES = ("finished", "running", "interrupted", "failed")
BROKEN = "broken"  # the status of a run without a readable record
NOT_RUNS = ("sweeps",)  # folders beside the runs, as are those that begin with a dot
MARKS = ("record.json", "config.json", "log.jsonl", "environment.json", "lock", "checkpoints")
WINDOW = 20  # epochs of the moving average that some of the reports quote

SHARES = (
    "test_accuracy",
    "train_accuracy",
    "best_test_accuracy",
    "best_validation_accuracy",
)
NUMBERS = ("test_loss", "train_loss", "seconds", "images_per_second")
COUNTS = (
    "params",
    "seed",
    "epochs",
    "steps",
    "train_images",
    "validation_images",
    "test_images",
    "best_test_epoch",
    "best_validation_epoch",
)
WORDS = ("variant", "precision", "device", "fingerprint", "error")
OF_AN_EPOCH = (
    "lr",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "validation_loss",
    "validation_accuracy",
    "images_per_second",
    "seconds",
)


DERIVED = ("data", "data_digest", "limit", "epochs_planned", "petaflops", "moving_test_accuracy")
TEXTS = (*WORDS, "data", "data_digest")


@dataclass(frozen=True)
class RunFile:
    """One run as its folder tells it; what is missing or wrong there is None here."""

    path: Path
    folder: str  # its name, fit to be printed
    status: str  # one of STATUSES, or BROKEN
    problems: tuple[str, ...]
    values: Mapping[str, Any]  # a value for each of SHARES, NUMBERS, COUNTS and WORDS, and more
    config: Mapping[str, Any]  # by dotted name
    record: Mapping[str, Any]  # as it was written
    environment: Mapping[str, Any]
    epochs: Sequence[Mapping[str, Any]]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @property
    def finished(self) -> bool:
        """Whether it has a result."""
        return self.status == "finished"


def read(root: str | Path) -> list[RunFile]:
    """The runs in `root`, by name; `root` may also be one run's own folder."""
    root = Path(root)
    check_folder(root)
    if (root / "record.json").exists():
        return [read_run(root)]
    try:
        below = sorted(root.iterdir())
    except OSError as error:
        raise UserError(f"{root}: {error.strerror}") from None
    runs = [read_run(path) for path in below if _is_run(path)]
    taken: Counter[str] = Counter()
    for place, run in enumerate(runs):  # two names may be printed alike
        taken[run.folder] += 1
        if taken[run.folder] > 1:
            runs[place] = replace(run, folder=f"{run.folder} ({taken[run.folder]})")
    return runs


def check_folder(root: Path) -> None:
    """Raise where `root` cannot hold runs."""
    if not root.is_dir():
        what = "a file, where a folder is expected" if root.exists() else "no such folder"
        raise UserError(f"{root}: {what}; expected the one that runs were written to")


def read_run(path: Path) -> RunFile:
    """One run, whatever state its files are in."""
    problems: list[str] = []
    record = read_object(path / "record.json", problems, needed=True)
    config = record.get("config") if isinstance(record.get("config"), dict) else None
    if config is None:
        config = read_object(path / "config.json", problems)
        if record:
            problems.append("record.json: has no settings; an older or a cut record")
    status = record.get("status")
    if record and status not in STATUSES:
        problems.append(f"record.json: status is {shown(status)}; expected {', '.join(STATUSES)}")
    if record and record.get("format") != FORMAT:
        problems.append(
            f"record.json: format {shown(record.get('format', 'unnamed'))}, this reads {FORMAT}: "
            "what it lacks is left empty"
        )
    lines = _log(path / "log.jsonl", problems)
    values = _values(record, problems)
    values |= _derived(values, record, config, lines)
    if status == "finished" and values["test_accuracy"] is None:
        problems.append("record.json: says finished, but has no test accuracy")
        status = BROKEN
    return RunFile(
        path=path,
        folder=clean(path.name or str(path)),
        status=status if status in STATUSES else BROKEN,
        problems=tuple(clean(problem) for problem in problems),
        values=values,
        config=_dotted(config),
        record=record,
        environment=read_object(path / "environment.json", problems),
        epochs=lines,
    )


def _is_run(path: Path) -> bool:
    if path.name.startswith(".") or path.name in NOT_RUNS:
        return False
    try:
        return path.is_dir() and any((path / mark).exists() for mark in MARKS)
    except OSError:
        return True  # it is there, and reading it will say what is wrong


def _values(record: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in (*SHARES, *NUMBERS, *COUNTS):
        values[key] = _number(record.get(key), f"record.json: {key}", problems, key in SHARES)
        if key in COUNTS and values[key] is not None:
            values[key] = _whole(values[key], f"record.json: {key}", problems)
    for key in WORDS:
        given = record.get(key)
        values[key] = clean(given) if isinstance(given, str) else None
        if given is not None and values[key] is None:
            problems.append(f"record.json: {key}: expected text, found {shown(given)}")
    return values


def _derived(
    values: Mapping[str, Any],
    record: Mapping[str, Any],
    config: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    data = config.get("data") if isinstance(config.get("data"), dict) else {}
    train = config.get("train") if isinstance(config.get("train"), dict) else {}
    digests = record.get("data_digests")
    name = data.get("train") if isinstance(data, dict) else None
    flops = record.get("flops")
    cost = flops.get("training") if isinstance(flops, dict) else None
    work = [plain(cost), values["train_images"], values["epochs"]]
    return {
        "data": clean(Path(name).stem.removesuffix("_train")) if isinstance(name, str) else None,
        "data_digest": clean(digests.get("test")) if isinstance(digests, dict) else None,
        "limit": _number(data.get("limit", 0) if isinstance(data, dict) else 0, "", []),
        "epochs_planned": _number(train.get("epochs") if isinstance(train, dict) else 0, "", []),
        "petaflops": None if None in work else math.prod(float(each) for each in work) / 1e15,
        "moving_test_accuracy": _moving([line["test_accuracy"] for line in lines]),
    }


def _moving(accuracies: Sequence[float | None]) -> float | None:
    """The best mean of WINDOW epochs on end; None where an epoch was not evaluated."""
    known = [value for value in accuracies if value is not None]
    if len(known) != len(accuracies) or len(known) < WINDOW:
        return None
    windows = (known[at : at + WINDOW] for at in range(len(known) - WINDOW + 1))
    return max(math.fsum(window) / WINDOW for window in windows)


def _number(value: Any, where: str, problems: list[str], share: bool = False) -> float | None:
    found = plain(value)
    if found is None and value is not None:
        numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
        wrong = f"{shown(value)} is not finite" if numeric else ""
        problems.append(f"{where}: {wrong or f'expected a number, found {shown(value)}'}")
    if found is not None and share and not 0 <= found <= 1:
        problems.append(f"{where}: {shown(value)} is no share from 0 to 1")
        return None
    return found


def _whole(value: float, where: str, problems: list[str]) -> int | None:
    if value != int(value) or not 0 <= value < 2**63:
        problems.append(f"{where}: expected a whole number from 0 up, found {value:g}")
        return None
    return int(value)


def _log(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    text = read_text(path, problems)
    lines: list[dict[str, Any]] = []
    wrong = 0
    for written in (text or "").splitlines():
        line = parsed(written)
        epoch = plain(line.get("epoch")) if isinstance(line, dict) else None
        if epoch is None or epoch != int(epoch):
            wrong += 1
            continue
        kept = {key: plain(line.get(key)) for key in OF_AN_EPOCH}
        lines.append({"epoch": int(epoch), **kept})
    if wrong:
        problems.append(f"log.jsonl: {wrong} of {wrong + len(lines)} lines are not readable")
    return lines


def _dotted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sections flattened: `train.epochs`."""
    return {
        clean(f"{section}.{key}"): value
        for section, values in config.items()
        if isinstance(values, dict)
        for key, value in values.items()
    }
