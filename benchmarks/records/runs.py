"""A run's folder in any state: complete, running, half-written, damaged or of another format.

No file in it is trusted, and none stops the reading of the others: what is missing or wrong is
None, and `problems` says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.records.epochs import Epochs
from benchmarks.records.untrusted import (
    mapping,
    number,
    parse_json,
    printable,
    read_object,
    read_text,
    shortened,
)
from engine import seal
from engine.errors import UserError
from engine.runs.agreement import differences
from engine.runs.directory import OWN_DIGEST, RunFolder

FORMAT = 1  # of the records that this version reads completely
STATUSES = ("finished", "running", "interrupted", "failed")
BROKEN = "broken"  # the status of a run without a readable record
NOT_RUNS = ("sweeps",)  # folders beside the runs, as are those that begin with a dot
RUN_FILES = (
    "record.json", "config.json", "log.jsonl", "environment.json", "lock", "checkpoints",
)  # fmt: skip
WINDOW = 20  # epochs of the moving average that some of the reports quote
MOST_EPOCHS = 10**7  # of a run whose log is read

WORDS = ("variant", "precision", "device", "fingerprint", "error")
COUNTS = (
    "params", "seed", "epochs", "steps", "train_images", "validation_images", "test_images",
    "best_test_epoch", "best_validation_epoch",
)  # fmt: skip
SHARES = ("test_accuracy", "train_accuracy", "best_test_accuracy", "best_validation_accuracy")
NUMBERS = ("test_loss", "train_loss", "seconds", "images_per_second")
DERIVED = ("data", "data_digest", "limit", "epochs_planned", "petaflops", "moving_test_accuracy")
TEXTS = (*WORDS, "data", "data_digest")


@dataclass(frozen=True)
class RunRecord:
    """One run as its folder describes it; what is missing or wrong there is None here."""

    path: Path
    folder: str  # its name, printable
    status: str  # one of STATUSES, or BROKEN; a running one that was killed is interrupted
    problems: tuple[str, ...]
    values: Mapping[str, Any]  # a value for each of WORDS, COUNTS, SHARES, NUMBERS and DERIVED
    config: Mapping[str, Any]  # by dotted name
    record: Mapping[str, Any]  # as it was written
    environment: Mapping[str, Any]
    epochs: Epochs

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @property
    def finished(self) -> bool:
        """Whether it has a result."""
        return self.status == "finished"

    @property
    def passes(self) -> float | None:
        """Over the training images: `epochs`, of which the last may be a part."""
        epochs, planned = self["epochs"], self["epochs_planned"]
        return None if epochs is None else float(min(epochs, planned or epochs))

    @property
    def name(self) -> str:
        """The network's name, or the folder's if the network is unknown."""
        return str(self["variant"] or self.folder)


def read(root: str | Path) -> list[RunRecord]:
    """The runs in `root`, by name; `root` may also be one run's own folder."""
    root = Path(root)
    check_folder(root)
    if (root / "record.json").exists():
        return [read_run(root)]
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise UserError(f"{root}: {error.strerror}") from None
    runs = [read_run(path) for path in entries if _is_run(path)]
    seen: Counter[str] = Counter()
    for index, run in enumerate(runs):  # different names may look the same when printed
        seen[run.folder] += 1
        if seen[run.folder] > 1:
            runs[index] = replace(run, folder=f"{run.folder} ({seen[run.folder]})")
    return runs


def check_folder(root: Path) -> None:
    """Raise if `root` is not a folder."""
    if not root.is_dir():
        problem = "a file, not a folder" if root.exists() else "no such folder"
        raise UserError(f"{root}: {problem}; expected the folder that runs were written to")


def read_run(path: Path) -> RunRecord:
    """One run, whatever state its files are in."""
    problems: list[str] = []
    missing = "missing; the run was stopped before it began"
    record = read_object(path / "record.json", problems, missing=missing)
    config = record.get("config")
    if not isinstance(config, dict):
        config = read_object(path / "config.json", problems)
        if record:
            problems.append("record.json: has no settings; an older or an incomplete record")
    status = record.get("status")
    if record and status not in STATUSES:
        expected = ", ".join(STATUSES)
        problems.append(f"record.json: status is {shortened(status)}; expected {expected}")
    if record and record.get("format") != FORMAT:
        problems.append(
            f"record.json: format {shortened(record.get('format', 'unknown'))}, expected {FORMAT}: "
            "what it lacks is left empty"
        )
    epochs, last = _epochs(path / "log.jsonl", problems)
    values = _values(record, problems)
    values |= _derived(values, record, config, epochs)
    if status == "finished" and values["test_accuracy"] is None:
        problems.append("record.json: status is finished, but there is no test accuracy")
        status = BROKEN
    if status == "running" and not RunFolder(path).locked():  # killed: nobody could say so
        status = "interrupted"
    contradictions = _contradictions(record, last)
    if contradictions:
        problems += contradictions
        status = BROKEN
    return RunRecord(
        path=path,
        folder=printable(path.name or str(path)),
        status=status if status in STATUSES else BROKEN,
        problems=tuple(printable(problem) for problem in problems),
        values=values,
        config=_dotted(config),
        record=record,
        environment=read_object(path / "environment.json", problems),
        epochs=epochs,
    )


def contradicted(run: RunRecord, problem: str) -> RunRecord:
    """The run without a result: something else than its files says that it is not true."""
    return replace(run, status=BROKEN, problems=(*run.problems, problem))


def _contradictions(record: Mapping[str, Any], last: Mapping[str, Any]) -> list[str]:
    """In what a record is not what was written, as its digest shows, or a finished one's log."""
    if seal.is_broken(record, OWN_DIGEST):
        return ["record.json: changed or damaged (its own digest does not match)"]
    if record.get("status") != "finished":
        return []
    differing = differences(record, last)
    return [shortened(f"{each}; one of the two was changed", 200) for each in differing]


def _is_run(path: Path) -> bool:
    if path.name.startswith(".") or path.name in NOT_RUNS:
        return False
    try:
        return path.is_dir() and any((path / name).exists() for name in RUN_FILES)
    except OSError:
        return True  # reading it will say what is wrong


def _values(record: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """What the record says, each value checked."""
    values: dict[str, Any] = {}
    for key in (*SHARES, *NUMBERS, *COUNTS):
        written = record.get(key)
        values[key] = value = number(written)
        expected = ""
        if value is None and written is not None:
            numeric = isinstance(written, (int, float)) and not isinstance(written, bool)
            expected = "a finite number" if numeric else "a number"
        elif value is not None and key in SHARES and not 0 <= value <= 1:
            expected = "a share from 0 to 1"
        elif value is not None and key in COUNTS:
            if value == int(value) and 0 <= value < 2**53:
                values[key] = int(value)
            else:
                expected = "a whole number from 0 up"
        if expected:
            values[key] = None
            found = shortened(written)
            problems.append(f"record.json: {key}: expected {expected}, found {found}")
    for key in WORDS:
        written = record.get(key)
        values[key] = printable(written) if isinstance(written, str) else None
        if written is not None and values[key] is None:
            problems.append(f"record.json: {key}: expected text, found {shortened(written)}")
    return values


def _derived(
    values: Mapping[str, Any],
    record: Mapping[str, Any],
    config: Mapping[str, Any],
    epochs: Epochs,
) -> dict[str, Any]:
    data, train = mapping(config.get("data")), mapping(config.get("train"))
    digests = record.get("data_digests")
    file = data.get("train")
    flops = number(mapping(record.get("flops")).get("training"))
    factors = [flops, values["train_images"], values["epochs"]]
    work = number(record.get("training_flops"))  # since runs may change it from step to step
    if work is None and None not in factors:
        work = number(math.prod(map(float, factors)))
    return {
        "data": printable(Path(file).stem.removesuffix("_train"))
        if isinstance(file, str)
        else None,
        "data_digest": printable(digests.get("test")) if isinstance(digests, dict) else None,
        "limit": number(data.get("limit", 0)),
        "epochs_planned": number(train.get("epochs")),
        "petaflops": None if work is None else work / 1e15,
        "moving_test_accuracy": moving_average(epochs.column("test_accuracy")),
    }


def moving_average(accuracies: Sequence[float]) -> float | None:
    """The best mean of WINDOW consecutive epochs; None if an epoch was not evaluated."""
    if len(accuracies) < WINDOW or any(map(math.isnan, accuracies)):
        return None
    windows = (accuracies[start : start + WINDOW] for start in range(len(accuracies) - WINDOW + 1))
    return max(math.fsum(window) / WINDOW for window in windows)


def _epochs(path: Path, problems: list[str]) -> tuple[Epochs, Mapping[str, Any]]:
    """The readable lines of a run's log, and the last of them."""
    text = read_text(path, problems)
    epochs = Epochs()
    wrong = 0
    last: Mapping[str, Any] = {}
    for line in (text or "").splitlines():
        entry = mapping(parse_json(line))
        epoch = number(entry.get("epoch"))
        if epoch is None or epoch != int(epoch) or not 0 < epoch <= MOST_EPOCHS:
            wrong += 1
            continue
        epochs.add(int(epoch), entry)
        last = entry
    if wrong:
        problems.append(f"log.jsonl: {wrong} of {wrong + len(epochs)} lines are not readable")
    return epochs, last


def _dotted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sections flattened: `train.epochs`."""
    return {
        printable(f"{section}.{key}"): value
        for section, values in config.items()
        if isinstance(values, dict)
        for key, value in values.items()
    }
