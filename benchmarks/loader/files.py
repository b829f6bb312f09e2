"""The files that the loader's benchmark reads, made from one set of images.

The pairs read a copy whose labels are the ids of its samples, so that what each loader delivers
can be counted. Fresh processes open the original, with the sidecar that is checked on opening.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.measuring.data import find, synthetic_set
from engine.data import ffcv_files
from engine.data.beton import open_beton
from engine.errors import UserError
from writers import synthetic

MOST = 1_000_000  # a label without a sidecar is no larger
FEW = 2000  # images whose every bit is compared


@dataclass(frozen=True)
class Files:
    """One set of images in three files."""

    source: Path  # the training set itself
    numbered: Path  # its first `samples` images, each labelled with its id, without a sidecar
    few: Path  # the first of these
    images: npt.NDArray[np.uint8]  # those of `numbered`
    described: str

    @property
    def samples(self) -> int:
        """Images in an epoch of the pairs."""
        return len(self.images)

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        return int(self.images[0].nbytes)


@contextlib.contextmanager
def prepared(named: str | None, samples: int | None) -> Iterator[Files]:
    """The files, in a temporary folder that is gone afterwards."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loader-benchmark-")))
        source = find(named)
        described = str(source or "the built-in synthetic set, written for this run")
        if source is None:
            source = stack.enter_context(synthetic_set(samples or synthetic.TRAIN))
        images = open_beton(source).images()[: min(samples or MOST, MOST)]
        numbered = _numbered(folder / "numbered.beton", images)
        few = _numbered(folder / "few.beton", images[:FEW])
        yield Files(source, numbered, few, images, described)


def _numbered(path: Path, images: npt.NDArray[np.uint8]) -> Path:
    """A file of these images whose labels are their ids."""
    if len(images) < 2:
        raise UserError(f"{len(images)} image; the benchmark needs at least two, to check an order")
    ffcv_files.write(path, images, np.arange(len(images)))
    return path
