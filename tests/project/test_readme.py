"""What the README says can be done: its Python runs, its files are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.data import Files
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = [code for code in re.findall(r"```python\n(.*?)```", README, re.S) if "import" in code]


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.splitlines()[1][:40])
def test_its_examples_run(
    code: str, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "runs").mkdir()
    for suffix in ("", ".json"):
        source = files.train.with_name(files.train.name + suffix)
        (tmp_path / "data" / f"cifar10_train.beton{suffix}").symlink_to(source)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_it_has_examples_and_its_links_lead_somewhere() -> None:
    assert EXAMPLES
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []
