"""Write the data set that a training config names if it is missing: what `make train` calls.

The synthetic set replaces CIFAR-10 only until that is there: a config that names the synthetic set
is trained on CIFAR-10 if the same folder has it. Nothing is downloaded unless the config itself
names CIFAR. Flags that training needs in addition to its config are printed to stdout.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from engine import show
from engine.config.options import read
from engine.config.schema import Config
from engine.errors import OK, run_command
from writers import cifar, cifar_files
from writers.cifar_layouts import CLASSES, LAYOUTS
from writers.settings import SYNTHETIC

PROGRAM = "python -m writers.prepare"
SPLITS = ("train", "test")


def main(argv: Sequence[str]) -> int:
    """Write missing files; takes the flags of `engine.train`."""
    summary = "Write the data set that a training config names, if it is missing."
    parsed = read(Config, argv, program=PROGRAM, summary=summary, flags=show.FLAGS)
    if show.requested(parsed.flags):
        return OK
    data = parsed.config.data
    named = [Path(data.train), Path(data.test)]
    dataset, folder = _dataset_of(named), named[0].parent
    if dataset == SYNTHETIC and _has_cifar10(folder):
        print(f"{folder}/ has CIFAR-10: training on it instead of the synthetic set",
              file=sys.stderr)  # fmt: skip
        dataset = "cifar10"
        named = [folder / f"{dataset}_{split}.beton" for split in SPLITS]
        print(f"--data.train {named[0]} --data.test {named[1]}")
    if dataset is None or all(path.exists() for path in named):
        return OK  # the user's own file, or nothing to do; training checks the files
    flags = ["--data.source", SYNTHETIC] if dataset == SYNTHETIC else ["--data.name", dataset]
    if dataset == SYNTHETIC:
        print(f"no CIFAR-10 in {folder}/: training on the built-in synthetic set",
              file=sys.stderr)  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):  # the paths: stdout is for flags
        return cifar.main([*flags, "--data.folder", str(folder)])


def _dataset_of(named: Sequence[Path]) -> str | None:
    """The built-in or published data set that the two file names belong to, if any."""
    for dataset in (SYNTHETIC, *CLASSES):
        if [path.name for path in named] == [f"{dataset}_{split}.beton" for split in SPLITS]:
            return dataset
    return None


def _has_cifar10(folder: Path) -> bool:
    forms = [layout for layout in LAYOUTS if layout.dataset == "cifar10"]
    written = all((folder / f"cifar10_{split}.beton").exists() for split in SPLITS)
    return written or cifar_files.find(folder, forms) is not None


if __name__ == "__main__":
    raise SystemExit(run_command(main))
