"""Evaluate a finished run on any `.beton` file: `python -m engine.evaluate runs/RUN`.

Labelled files give accuracy, loss and accuracy per class. Files without labels (hidden test
sets) give the predictions alone.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take seconds
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
from engine.config.schema import Runtime
from engine.data.beton import Beton
from engine.data.sets import class_names, evaluation_loader
from engine.data.stores import open_store
from engine.data.subsets import tested_ids
from engine.errors import OK, UserError, run_command
from engine.escaping import escaped
from engine.parser import Parser
from engine.runs import agreement, console, trained
from engine.runs.directory import RunFolder
from engine.runs.trained import Trained
from engine.step import device
from engine.step.evaluation import forward_passes
from engine.step.views import FLIP, NONE, SIX, WORDS

PROGRAM = "python -m engine.evaluate"


def main(argv: Sequence[str]) -> int:
    """The command."""
    args = _arguments(argv)
    folder = RunFolder(Path(args.run))
    outputs = predictions(folder, args.data, args.device, args.weights, args.tta)
    logits, labels = outputs.logits, outputs.labels
    labelled = labels >= 0
    if not labelled.any() and not args.predictions:
        raise UserError(
            f"{outputs.path}: has no labels; write its predictions with: --predictions FILE"
        )
    if args.predictions:
        _write_predictions(Path(args.predictions), outputs.ids, logits)
        print(f"{args.predictions}: {len(logits):,} predictions", file=sys.stderr)
    if labelled.any():
        result = {"run": str(Path(args.run)), "data": str(outputs.path), "tta": args.tta}
        result |= _measure(logits[labelled], labels[labelled], outputs.classes)
        _compare(folder, outputs.recorded, result)
        print(json.dumps(result, indent=2) if args.json else _text(result))
    return OK


@dataclass(frozen=True)
class Predictions:
    """The outputs of a finished run's network on the images of a file."""

    ids: list[int]  # of the images, in order
    logits: Tensor  # N classes, on the CPU
    labels: Tensor  # N; -1 where unknown
    classes: list[str]
    path: Path  # of the file
    beton: Beton
    recorded: float | None  # their accuracy in the run's record, if they are its test images


def predictions(
    folder: RunFolder,
    data: str | None = None,
    device_name: str = "auto",
    weights: str = "last",
    tta: str = NONE,
) -> Predictions:
    """Evaluate a finished run's network on `data`, by default the run's own test images.

    `weights` are those of the last epoch, or the best on validation images that the run kept.
    With `tta` the logits are the mean over several views of each image.
    """
    run = trained.read(folder, weights)
    config = run.config
    machine = device.prepare(
        Runtime(device=device_name, precision=run.precision, exact=config.runtime.exact)
    )
    path = Path(data) if data else run.test_set()
    store = open_store(path, machine.device, config.data.mode)
    own = store.beton.sha256 == run.test_digest
    if not data and not own:
        raise UserError(
            f"{path}: another file than the test set of {run.folder.path} (its SHA-256 differs); "
            f"evaluate on it nevertheless with: --data {path}"
        )
    _refuse_other_images(run, store.beton, own=own)
    run.network.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    limit = 0 if data else config.data.limit  # limits the run's own test set only
    batch = config.train.evaluate_batch_size
    limited = tested_ids(store.beton, limit)
    loader = evaluation_loader(store, batch, run.mean, run.std, limited)
    logits, labels = (
        torch.cat(parts).cpu()
        for parts in zip(*forward_passes(run.network, loader, machine, tta), strict=True)
    )
    same = own and limit == config.data.limit
    return Predictions(
        ids=loader.ids(0).tolist(),
        logits=logits,
        labels=labels,
        classes=list(run.classes),
        path=path,
        beton=store.beton,
        recorded=run.accuracies.get(f"{weights} {tta}") if same else None,
    )


def _compare(folder: RunFolder, recorded: float | None, result: dict[str, Any]) -> None:
    """Warn where a run's record says something else of the same images."""
    if recorded is None:
        return
    wrong = agreement.contradicts(recorded, result["accuracy"], result["images"])
    if wrong:
        print(f"warning: {escaped(str(folder.path))}: {wrong}", file=sys.stderr)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("--data", metavar="X.beton", help="default: the test set of the run")
    parser.add_argument(
        "--predictions", metavar="OUT.csv", help="write the predictions as id,label"
    )
    parser.add_argument(
        "--weights",
        choices=("last", "best"),
        default="last",
        help="those of the last epoch, or of the best on validation images (checkpoint.best)",
    )
    parser.add_argument(
        "--tta",
        choices=(NONE, FLIP, SIX),
        default=NONE,
        help="test-time augmentation, the mean over views of each image. flip: it and its mirror "
        "image; six: both also shifted by one pixel in two directions, with half the weight",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args(argv)


def _refuse_other_images(run: Trained, beton: Beton, *, own: bool) -> None:
    known, names, path = list(run.classes), list(class_names(beton)), beton.path
    trained_on = f"{run.folder.path} was trained on"
    classes = max(len(names), int(beton.labels.max()) + 1)
    # Sets without labels may have no classes, and the run's own was compared when it was trained.
    if classes > len(known) or (0 < classes < len(known) and not own):
        raise UserError(f"{path}: holds {classes} classes, but {trained_on} {len(known)}")
    # Numbers stand for missing names.
    if _are_names(names) and _are_names(known) and names != known:
        raise UserError(
            f"{path}: its classes are {', '.join(names[:3])} ..., but {trained_on} "
            f"{', '.join(known[:3])} ..."
        )
    height, width, side = beton.height, beton.width, run.side
    if (height, width) != (side, side):
        raise UserError(f"{path}: images of {height}x{width}; {trained_on} {side}x{side}")


def _are_names(classes: list[str]) -> bool:
    return bool(classes) and not all(name.isdigit() for name in classes)


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


def _text(result: dict[str, Any]) -> str:
    per_class = {escaped(name): share for name, share in result["per_class_accuracy"].items()}
    width = max(map(len, per_class))
    lines = [
        f"accuracy  {console.percent(result['accuracy'])} of {result['images']:,} images"
        + (f", mean of {WORDS[result['tta']]}" if result["tta"] in WORDS else ""),
        f"loss      {console.loss(result['loss'])}",
    ]
    for name, share in per_class.items():
        lines.append(f"  {name:<{width}}  {'-' if share is None else console.percent(share)}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
