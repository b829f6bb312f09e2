"""The images of the tests of the loader's benchmark."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.loader.files import Files, prepared
from tests.support.data import coloured, write_beton

SAMPLES = 600  # a batch of 512 and a rest


@pytest.fixture(scope="session")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    """A small source file and what the benchmark makes of it."""
    path = tmp_path_factory.mktemp("benchmark") / "few.beton"
    write_beton(path, *coloured(SAMPLES + 50, seed=3), split="train")
    with prepared(str(path), SAMPLES) as files:
        yield files
