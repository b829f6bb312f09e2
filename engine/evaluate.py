"""Evaluate a finished run on any `.beton` file: `python -m engine.evaluate runs/RUN`.

Labelled files give accuracy, loss and accuracy per class. Files without labels (hidden test
sets) give the predictions alone.
"""

from __future__ import annotations

if __name__ == "__main__":  # Ctrl-C in the seconds of the imports below
    from engine import signals

    signals.quit_early()

import argparse
import csv
import io
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from engine import atomic
from engine.config.schema import Runtime, from_dict
from engine.data.beton import Beton
from engine.data.loader import Loader
from engine.data.sets import class_names, evaluation_loader, tested_ids
from engine.data.stores import open_store
from engine.errors import OK, UserError, run_command
from engine.model import ResNet, resolve
from engine.parser import Parser
from engine.runs import checkpoint, console
from engine.runs.directory import RunFolder
from engine.step import device
from engine.step.evaluation import outputs

PROGRAM = "python -m engine.evaluate"


def main(argv: Sequence[str]) -> int:
    """The command."""
    asked = _arguments(argv)
    found = predictions(RunFolder(Path(asked.run)), asked.data, asked.device)
    logits, labels = found.logits, found.labels
    labelled = labels >= 0
    if not labelled.any() and not asked.predictions:
        raise UserError(
            f"{found.path}: holds no label; ask for its predictions with: --predictions FILE"
        )
    if asked.predictions:
        _write_predictions(Path(asked.predictions), found.ids, logits)
        print(f"{asked.predictions}: {len(logits):,} predictions", file=sys.stderr)
    if labelled.any():
        measured = _measure(logits[labelled], labels[labelled], found.classes)
        measured = {"run": str(Path(asked.run)), "data": str(found.path)} | measured
        print(json.dumps(measured, indent=2) if asked.json else _text(measured))
    return OK


@dataclass(frozen=True)
class Predictions:
    """What a finished run's network says of the images of a file."""

    ids: list[int]  # of the images, in order
    logits: Tensor  # N classes, on the CPU
    labels: Tensor  # N; -1 where unknown
    classes: list[str]
    path: Path  # of the file
    beton: Beton


def predictions(
    folder: RunFolder, data: str | None = None, device_name: str = "auto"
) -> Predictions:
    """A finished run's network over `data`, or over what the run itself tested on."""
    record = _record(folder)
    config = from_dict(record["config"])
    machine = device.prepare(
        Runtime(device=device_name, precision=record["precision"], exact=config.runtime.exact)
    )
    path = Path(data or config.data.test)
    store = open_store(path, machine.device, config.data.mode)
    _refuse_other_classes(folder.path, record, store.beton)
    network = ResNet(resolve(config.model), len(record["classes"]), side=record["image_side"])
    network.load_state_dict(checkpoint.load_weights(folder.weights, record["weights_sha256"]))
    network.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    limit = 0 if data else config.data.limit  # the run's own test set is what it tested on
    loader = evaluation_loader(
        store,
        config.train.evaluate_batch_size,
        tuple(record["mean"]),
        tuple(record["std"]),
        tested_ids(store.beton, limit),
    )
    outcome = _all_outputs(network, loader, machine)
    return Predictions(loader.ids(0).tolist(), *outcome, record["classes"], path, store.beton)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("--data", metavar="X.beton", help="default: the test set of the run")
    parser.add_argument("--predictions", metavar="OUT.csv", help="write them as id,label")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args(argv)


def _record(folder: RunFolder) -> dict[str, Any]:
    if not folder.path.is_dir():
        raise UserError(f"{folder.path}: no such run; a run's folder is what training printed")
    record = folder.read_record()
    if record is None:
        raise UserError(f"{folder.record}: no such file; expected the folder of a run")
    if record.get("status") != "finished":
        raise UserError(
            f"{folder.path}: this run is {record.get('status')}, not finished; the command that "
            "began it continues it"
        )
    return record


def _refuse_other_classes(run: Path, record: dict[str, Any], beton: Beton) -> None:
    known, found, path = record["classes"], list(class_names(beton)), beton.path
    height, width, side = beton.height, beton.width, record["image_side"]
    classes = max(len(found), int(beton.labels.max()) + 1)
    if classes > len(known):
        raise UserError(f"{path}: holds {classes} classes, but {run} was trained on {len(known)}")
    # Numbers stand in for names that nobody gave, and unlabelled sets may have no classes at all.
    if _are_names(found) and _are_names(known) and found != known:
        raise UserError(
            f"{path}: its classes are {', '.join(found[:3])} ..., but {run} was trained on "
            f"{', '.join(known[:3])} ..."
        )
    if (height, width) != (side, side):
        raise UserError(f"{path}: images of {height}x{width}; {run} was trained on {side}x{side}")


def _are_names(classes: list[str]) -> bool:
    return bool(classes) and not all(name.isdigit() for name in classes)


def _all_outputs(network: ResNet, loader: Loader, machine: device.Machine) -> tuple[Tensor, Tensor]:
    parts = list(outputs(network, loader, machine))
    return torch.cat([p[0] for p in parts]).cpu(), torch.cat([p[1] for p in parts]).cpu()


def _measure(logits: Tensor, labels: Tensor, classes: list[str]) -> dict[str, Any]:
    right = logits.argmax(1) == labels
    per_class = {
        name: right[labels == number].float().mean().item() if (labels == number).any() else None
        for number, name in enumerate(classes)
    }
    loss = cross_entropy(logits.double(), labels).item()
    return {
        "images": len(labels),
        "accuracy": right.double().mean().item(),
        "loss": loss if math.isfinite(loss) else None,
        "per_class_accuracy": per_class,
    }


def _write_predictions(target: Path, ids: list[int], logits: Tensor) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "label"))
    writer.writerows(zip(ids, logits.argmax(1).tolist(), strict=True))
    atomic.write_text(target, text.getvalue())


def _text(found: dict[str, Any]) -> str:
    width = max(len(name) for name in found["per_class_accuracy"])
    lines = [
        f"accuracy  {console.percent(found['accuracy'])} of {found['images']:,} images",
        f"loss      {console.loss(found['loss'])}",
    ]
    for name, share in found["per_class_accuracy"].items():
        lines.append(f"  {name:<{width}}  {'-' if share is None else console.percent(share)}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
