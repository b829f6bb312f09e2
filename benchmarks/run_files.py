"""A run's folder as it lies there: whole, running, half-written, damaged or of another format.

Nothing in it is trusted, and nothing in it stops the reading of the others: what is missing or
wrong is None, and `problems` says so.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import UserError

FORMAT = 1  # of the records that this reads whole
STATUSES = ("finished", "running", "interrupted", "failed")
BROKEN = "broken"  # the status of a run without a readable record
NOT_RUNS = ("sweeps",)  # folders beside the runs, as are those that begin with a dot
MARKS = ("record.json", "config.json", "log.jsonl", "environment.json", "lock", "checkpoints")
LARGEST = 64 * 2**20  # bytes of a record or log that are read
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
_UNPRINTABLE = ("Cc", "Cs", "Cf", "Zl", "Zp", "Cn")


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
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected the one that runs were written to")
    if (root / "record.json").exists():
        return [read_run(root)]
    try:
        below = sorted(root.iterdir())
    except OSError as error:
        raise UserError(f"{root}: {error.strerror}") from None
    return [read_run(path) for path in below if _is_run(path)]


def read_run(path: Path) -> RunFile:
    """One run, whatever state its files are in."""
    problems: list[str] = []
    record = _object(path / "record.json", problems, needed=True)
    config = record.get("config") if isinstance(record.get("config"), dict) else None
    if config is None:
        config = _object(path / "config.json", problems)
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
        environment=_object(path / "environment.json", problems),
        epochs=lines,
    )


def clean(text: object) -> str:
    """`text` without what cannot be printed, whoever wrote it: control characters, halves."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter) in _UNPRINTABLE else letter
        for letter in str(text)
    )


def shown(value: object) -> str:
    """A value from a foreign file, short enough for a line."""
    text = clean(value if isinstance(value, str) else repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


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
    work = [_number(cost, "", []), values["train_images"], values["epochs"]]
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
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        problems.append(f"{where}: expected a number, found {shown(value)}")
        return None
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        problems.append(f"{where}: {shown(value)} is not finite")
        return None
    if share and not 0 <= found <= 1:
        problems.append(f"{where}: {shown(value)} is no share from 0 to 1")
        return None
    return found


def _whole(value: float, where: str, problems: list[str]) -> int | None:
    if value != int(value) or not 0 <= value < 2**63:
        problems.append(f"{where}: expected a whole number from 0 up, found {value:g}")
        return None
    return int(value)


def _log(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    text = _text(path, problems)
    lines: list[dict[str, Any]] = []
    wrong = 0
    for written in (text or "").splitlines():
        line = _parsed(written)
        ignored: list[str] = []
        epoch = _number(line.get("epoch"), "", ignored) if isinstance(line, dict) else None
        if epoch is None or epoch != int(epoch):
            wrong += 1
            continue
        kept = {key: _number(line.get(key), "", ignored) for key in OF_AN_EPOCH}
        lines.append({"epoch": int(epoch), **kept})
    if wrong:
        problems.append(f"log.jsonl: {wrong} of {wrong + len(lines)} lines are not readable")
    return lines


def _object(path: Path, problems: list[str], *, needed: bool = False) -> dict[str, Any]:
    text = _text(path, problems)
    if text is None:
        if needed and not path.exists():
            problems.append(f"{path.name}: missing; the run was stopped before it began")
        return {}
    content = _parsed(text)
    if not isinstance(content, dict):
        problems.append(f"{path.name}: not readable as JSON; damaged or half-written")
        return {}
    return content


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _text(path: Path, problems: list[str]) -> str | None:
    """What a file holds; never waits on a pipe, and never reads a disk full of it."""
    try:
        if not path.exists():
            return None
        if not path.is_file():
            problems.append(f"{path.name}: not a file")
        elif path.stat().st_size > LARGEST:
            problems.append(f"{path.name}: larger than {LARGEST // 2**20} MiB, not read")
        else:
            return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        problems.append(f"{path.name}: {error.strerror}")
    return None


def _dotted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sections flattened: `train.epochs`."""
    return {
        clean(f"{section}.{key}"): value
        for section, values in config.items()
        if isinstance(values, dict)
        for key, value in values.items()
    }
