"""What README and docs/ say can be done: every command and example is read out of them and run."""

from __future__ import annotations

import glob
import importlib
import io
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from engine.errors import run_command
from tests.support.data import Files, coloured
from tests.support.paths import ROOT
from tests.support.processes import succeed

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = ("python -m ", "python writers/", "ffcv-engine-", "make")
OTHERS = (
    "pip ",
    "source ",
    "sudo ",
    "conda ",
    "brew ",
    "git ",
    "docker ",
    "sbatch ",
)  # not ours to run
# What makes a command short, by its program; a flag that the command has already stays.
SHORT = {
    "engine.train": "--train.epochs 1 --data.limit 8 --train.batch_size 4 --runtime.device cpu "
    "--runtime.precision fp32 --runtime.threads 1",
    "engine.sweep": "--only */s0 --epochs-scale 0.005 --data.limit 8 --runtime.device cpu "
    "--runtime.precision fp32 --runtime.threads 1",
    "engine.evaluate": "--device cpu",
    "engine.explore": "--widths 64,128,256",
    "writers.cifar": "--data.source synthetic --data.limit 40",
    "benchmarks.report": "--predictions none",
}
MEASURING = (
    "benchmarks.loader", "benchmarks.step", "benchmarks.gpu", "benchmarks.accuracies",
    "benchmarks.packing", "benchmarks.gpu.pieces",
)  # fmt: skip
ALONE = ("--list", "--describe", "--print-config", "--help", "--dry-run", "--summary")


class Command(NamedTuple):
    """A command of a page, with the lines that the page shows as its output."""

    page: str
    words: str
    output: tuple[str, ...] = ()


def name_of(page: Path) -> str:
    """README.md, or docs/README.md."""
    return str(page.relative_to(ROOT))


def commands(page: Path) -> Iterator[Command]:
    """The commands in the fenced blocks of a page, in their order."""
    for block in re.findall(r"```(?:sh|console|)\n(.*?)```", page.read_text("utf-8"), re.S):
        lines = block.replace("\\\n", " ").splitlines()
        for number, line in enumerate(lines):
            words = line.strip().removeprefix("$ ").partition("  #")[0].strip()
            if words.startswith((*OURS, *OTHERS)):
                shown = lines[number + 1 :] if line.startswith("$ ") else []
                yield Command(name_of(page), words, tuple(each for each in shown if each.strip()))


def inline(page: Path) -> Iterator[Command]:
    """The commands within sentences; most are shapes, with FILE or RUN in them."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text):
        words = " ".join(span.split())
        if words.startswith(OURS):
            yield Command(name_of(page), words)


FENCED = {name_of(page): list(commands(page)) for page in PAGES}
SPOKEN = sorted({each for page in PAGES for each in inline(page)})


def test_the_pages_have_commands() -> None:
    assert len(FENCED["README.md"]) >= 10
    assert len(SPOKEN) >= 10
    assert all(FENCED[f"docs/{name}.md"] for name in ("recipes", "install"))


@pytest.fixture
def folder(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a small data set by the names that the pages use."""
    for name in ("configs", "writers", "engine", "benchmarks", "tools", "Makefile"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "data").mkdir()
    (tmp_path / "runs").mkdir()
    for split, path in (("train", files.train), ("test", files.test)):
        for suffix in ("", ".json"):
            target = tmp_path / "data" / f"cifar10_{split}.beton{suffix}"
            target.symlink_to(path.with_name(path.name + suffix))
    images, labels = coloured(20, seed=3)
    np.save(tmp_path / "X.npy", images)
    np.save(tmp_path / "Y.npy", labels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [name for name in FENCED if FENCED[name]])
def test_every_command_of_a_page_runs(page: str, folder: Path) -> None:
    for command in FENCED[page]:
        program, words = program_of(command.words)
        if program is None:
            continue
        output = run(program, words)
        for line in map(steady, command.output):
            assert line in map(steady, output.splitlines()), (command, output)


@pytest.mark.parametrize("command", SPOKEN, ids=lambda each: f"{each.page}: {each.words}"[:70])
def test_a_command_in_a_sentence_has_the_flags_it_names(command: Command, folder: Path) -> None:
    program, words = program_of(command.words)
    if program is not None:
        known = run(program, ["--help"])
        named = re.findall(r"(?<!\w)--[a-z][a-z_.-]*", " ".join(words))
        assert [flag for flag in named if not re.search(re.escape(flag) + r"\b", known)] == []


def program_of(words: str) -> tuple[str | None, list[str]]:
    """The module that a command runs and its arguments; None where nothing is left to run.

    Targets of make are looked up, not built.
    """
    parts = shlex.split(words)
    if parts[0] == "make":
        succeed("make", "--dry-run", *parts[1:])
        return None, []
    if parts[0].startswith("ffcv-engine-"):
        name = parts[0].removeprefix("ffcv-engine-")
        return {"write": "writers.cifar"}.get(name, f"engine.{name}"), parts[1:]
    if parts[0] != "python":
        assert words.startswith(OTHERS), words
        return None, []
    if parts[1] == "-m" and parts[2] == "engine.launch" and "--" in parts:
        return "engine.train", parts[parts.index("--") + 1 :]  # alone: ranks take seconds each
    if parts[1] == "-m":
        return parts[2], parts[3:]
    return parts[1].removesuffix(".py").replace("/", "."), parts[2:]


def run(program: str, words: list[str]) -> str:
    """Run a command to its end, shortened; what it prints."""
    arguments = [each for word in words for each in (sorted(glob.glob(word)) or [word])]
    # Minutes each, or other machines: tests/benchmarks and tests/sweep run them.
    if program in MEASURING or "--on" in words:
        arguments = [*arguments, "--help"]
    short = shlex.split(SHORT.get(program, ""))
    if not any(word in ALONE for word in arguments):
        for flag, value in zip(short[::2], short[1::2], strict=True):
            if flag not in arguments and not (flag == "--data.source" and "--data.images" in words):
                arguments += [flag, value]
    package = ROOT.joinpath(*program.split(".")).is_dir()
    module = importlib.import_module(f"{program}.__main__" if package else program)
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        try:
            code = run_command(module.main, arguments)
        except SystemExit as end:  # argparse after --help
            code = int(end.code or 0)
    assert code == 0, f"{program} {shlex.join(arguments)}: exit {code}\n{errors.getvalue()}"
    return out.getvalue() + errors.getvalue()


def steady(line: str) -> str:
    """A line of output without its times."""
    return re.sub(r"\d+(\.\d+)? s\b", "0 s", line.rstrip())


EXAMPLES = [
    pytest.param(code, id=f"{name_of(page)} {number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S))
    if "import" in code
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_examples_in_python_run(code: str, folder: Path) -> None:
    exec(compile(code, "an example", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_files_and_modules_that_docs_and_docstrings_name_exist() -> None:
    sources = [*PAGES, ROOT / "CHANGELOG.md"]
    for room in ("engine", "writers", "benchmarks", "tools", "tests"):
        sources += sorted((ROOT / room).rglob("*.py"))
    missing = set()
    for source in sources:
        text = source.read_text("utf-8")
        for path in re.findall(
            r"`((?:engine|writers|benchmarks|tools|tests|configs|docs)/[\w./-]+)`", text
        ):
            if not (ROOT / path).exists():
                missing.add((source.name, path))
        for name in re.findall(r"`(?:python -m )?((?:engine|writers|benchmarks)\.[a-z_.]+)", text):
            place = ROOT.joinpath(*name.rstrip(".").split("."))
            owner = place.parent  # of a function or class
            if not any(
                each.with_suffix(".py").exists() or each.is_dir()
                for each in (place, owner, owner.parent)
                if each != ROOT
            ):
                missing.add((source.name, name))
    assert missing == set()


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    for page in PAGES[2:]:
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_the_picture_of_the_rooms_shows_the_imports_of_today() -> None:
    from tools import architecture

    drawn = architecture.TARGET.read_text("utf-8")
    assert drawn == architecture.svg(), "draw it again: python -m tools.architecture"
    assert os.path.getsize(architecture.TARGET) > 1000


def test_the_page_on_the_reports_has_every_experiment_and_reported_value() -> None:
    from tools import fidelity

    text = fidelity.TARGET.read_text("utf-8")
    reports = [match[2] for match in fidelity.BLOCK.finditer(text)]
    assert reports == ["000", "001", "002", "003", "004"]
    assert text == fidelity.page(text), "write it again: python -m tools.fidelity"
    for report in reports:
        for line in fidelity.table(report).splitlines()[4:]:
            identity = line.split(" | ")[0].removeprefix("| ")
            stories = fidelity.BLOCK.sub("", text)
            assert re.search(rf"\b{re.escape(identity)}\b", stories), f"{identity} has no row"
