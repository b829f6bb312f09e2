"""Memory mapped from libraries is released: less is resident, and everything still works."""

from __future__ import annotations

import sys

import pytest

from tests.support.processes import python, succeed
from writers import library_memory

MEASURE = """
import re
import torch
from writers import library_memory

def resident():
    with open("/proc/self/status") as file:
        return int(re.search(r"RssFile:\\s+(\\d+)", file.read())[1])

before = resident()
library_memory.release()
after = resident()
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
net(torch.ones(2, 3, 8, 8)).sum().backward()
print(before, after, float(net[1].bias.grad.sum()) > 0)
"""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux has these pages")


@linux
def test_pages_of_libraries_are_released_and_come_back_when_used(capsys):
    exec(MEASURE, {})
    before, after, works = capsys.readouterr().out.split()
    assert int(after) < int(before)
    assert works == "True"


@linux
@pytest.mark.slow
def test_more_than_half_of_what_importing_pytorch_maps_is_released():
    before, after, works = succeed(*python("-c", MEASURE)).split()
    assert int(after) < int(before) / 2
    assert works == "True"


def test_only_private_mappings_without_a_written_page_are_released(monkeypatch, tmp_path):
    def mapping(start: str, perms: str, path: str, anonymous: int) -> str:
        return f"{start}000-{start}fff {perms} 00000000 fe:00 12   {path}\nRss: 8 kB\n" + (
            f"Anonymous:      {anonymous} kB\nVmFlags: rd mr\n"
        )

    listing = tmp_path / "smaps"
    listing.write_text(
        mapping("a", "r-xp", "/lib/a lib.so", 0)
        + mapping("b", "r--p", "/lib/relocated.so", 4)
        + mapping("c", "rw-p", "/lib/data.so", 0)
        + mapping("d", "r--s", "/shared", 0)
        + mapping("e", "r-xp", "[vdso]", 0)
        + mapping("f", "r--p", "", 0)
        + mapping("7", "r--p", "/lib/rest.so", 0)
    )
    real = open
    monkeypatch.setattr("builtins.open", lambda path, *a, **k: real(listing, *a, **k))
    assert list(library_memory._clean()) == [(0xA000, 0xAFFF), (0x7000, 0x7FFF)]
    monkeypatch.undo()
    assert all(end > start for start, end in library_memory._clean())
