"""Trainers set torch's switches for their process; a test must not leave them behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.step.peers import Switches


@pytest.fixture(autouse=True)
def _switches_as_before() -> Iterator[None]:
    before = Switches.now()
    yield
    before.set()
