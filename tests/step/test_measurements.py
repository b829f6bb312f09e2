"""The machine is measured once; a cache that fails never stops a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from engine.step import rates
from engine.step.device import Machine
from engine.step.measurements import FILE, cached
from engine.step.rates import Rates

CPU = Machine(torch.device("cpu"), "fp32", compile=False)


def never() -> float:
    raise AssertionError("measured again")


def test_a_kept_measurement_is_never_repeated(tmp_path: Path) -> None:
    cache = tmp_path / "runs" / ".cache"
    assert cached("a", lambda: 2.0, cache) == 2.0
    assert cached("b", lambda: 0.5, cache) == 0.5
    assert cached("a", never, cache) == 2.0
    assert cached("b", never, cache) == 0.5
    assert [file.name for file in cache.iterdir()] == [FILE]


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cached("a", lambda: 2.0, None) == 2.0
    assert cached("a", lambda: 3.0, None) == 3.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\x00", b"[]", b'{"a": "2"}', b'{"a": NaN}', b'{"a": -1}']
)
def test_a_damaged_file_is_replaced_with_a_warning(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / FILE
    path.write_bytes(content)
    assert cached("a", lambda: 2.0, tmp_path) == 2.0
    assert f"warning: {path}: unreadable, measured again" in capsys.readouterr().err
    assert json.loads(path.read_text()) == {"a": 2.0}
    assert cached("a", never, tmp_path) == 2.0


def test_a_folder_that_cannot_be_written_is_only_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("a file")
    assert cached("a", lambda: 2.0, tmp_path / "cache") == 2.0
    assert "measurement not kept" in capsys.readouterr().err


def test_the_rates_of_a_machine_are_measured_once_per_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "SMALL", 16)
    monkeypatch.setattr(rates, "SECONDS", 0.0)
    monkeypatch.setitem(rates.COPIED, "cpu", 4096)
    torch.manual_seed(5)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    first = rates.measured(CPU, 2, tmp_path)
    assert torch.equal(torch.rand(3), expected), "the run's random numbers stay the same"
    assert torch.get_num_threads() == threads
    assert first.product > 0 and first.copy > 0
    assert (first.device, first.precision) == (CPU.name(), "fp32")
    assert len(json.loads((tmp_path / FILE).read_text())) == 2
    monkeypatch.setattr(rates, "_fastest", lambda work, clock: never())
    assert rates.measured(CPU, 2, tmp_path) == first
    with pytest.raises(AssertionError, match="measured again"):
        rates.measured(CPU, 1, tmp_path)


def test_the_product_counts_one_thread_as_often_as_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rates, "_fastest", lambda work, clock: 2.0)
    assert rates.measured(CPU, 3, None) == Rates(
        CPU.name(), "fp32", 3 * 2 * rates.SMALL**3 / 2.0, 2 * rates.COPIED["cpu"] / 2.0
    )
