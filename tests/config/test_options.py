"""What `options.read` takes, where values come from, and what it prints."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from engine.config import checks, options
from engine.config.fields import Problems, check, option, section
from engine.config.schema import Config
from engine.config.settings import settings_of
from engine.errors import UserError
from tests.support.settings import file_of

FLAGS = [
    options.Flag("dry-run", "checks everything, writes nothing"),
    options.Flag("list", "all variants, or those like GLOB", "GLOB"),
]


def read(*argv: str) -> options.Parsed[Config]:
    return options.read(
        Config, argv, program="python -m x", summary="S.", flags=FLAGS, checks=checks.TRAINING
    )


def read_text(folder: Path, text: str, *argv: str) -> options.Parsed[Config]:
    return read(f"--config-file={file_of(folder, text)}", *argv)


def has(config: Config, key: str, value: object) -> bool:
    actual = settings_of(Config)[key].of(config)
    return actual == value and type(actual) is type(value)


def test_nothing_given_means_the_defaults() -> None:
    parsed = read()
    assert parsed.config == Config()
    assert set(parsed.origins.values()) == {"default"}
    assert (parsed.files, parsed.flags) == ((), {})
    assert list(parsed.origins) == list(settings_of(Config))


def test_later_files_win_and_flags_win_over_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("train:\n  epochs: 3\n  seed: 4\n  batch_size: 5\n")
    second.write_text("\ntrain: {seed: 7, batch_size: 8}\n")
    parsed = read("--train.batch_size=9", "-C", str(first), "--config-file", str(second))
    train = parsed.config.train
    assert (train.epochs, train.seed, train.batch_size) == (3, 7, 9)
    assert parsed.origins["train.epochs"] == f"{first}, line 2"
    assert parsed.origins["train.seed"] == f"{second}, line 2"
    assert parsed.origins["train.batch_size"] == "--train.batch_size"
    assert parsed.origins["optim.lr"] == "default"
    assert parsed.files == (first, second)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("optim: {lr: 5e-4}", "optim.lr", 5e-4),
        ("optim: {lr: 1}", "optim.lr", 1.0),
        ("optim: {lr: .5}", "optim.lr", 0.5),
        ("optim: {lr: +1.5E+1}", "optim.lr", 15.0),
        ("model: {budget: 5_000_000}", "model.budget", 5_000_000),
        ("model: {blocks: [4, 5, 3]}", "model.blocks", (4, 5, 3)),
        ("model:\n  blocks:\n  - 4\n  - 5", "model.blocks", (4, 5)),
        ("model: {blocks: []}", "model.blocks", ()),
        ("model: {pool: global}", "model.pool", "global"),
        ("model: {pool: 4}", "model.pool", 4),
        ("model: {se: none}", "model.se", "none"),
        ("model: {se: 'none'}", "model.se", "none"),
        ("model: {se: null}", "model.se", None),
        ("model: {dropout: ~}", "model.dropout", None),
        ("model: {preactivation: no}", "model.preactivation", False),
        ("augment: {mean: data}", "augment.mean", "data"),
        ("augment: {mean: [0, 0.5, 1]}", "augment.mean", (0.0, 0.5, 1.0)),
        ("runtime: {compile: auto}", "runtime.compile", "auto"),
        ("runtime: {compile: Off}", "runtime.compile", False),
        ("run: {name: 2024-01-31}", "run.name", "2024-01-31"),
        ("run: {name: '5'}", "run.name", "5"),
        ('run: {name: <b>& "q"}', "run.name", '<b>& "q"'),
        ("train.epochs: 3", "train.epochs", 3),
        ("train: {epochs: &n 3, seed: *n}", "train.seed", 3),
        ("\ufefftrain: {epochs: 3}", "train.epochs", 3),
        ("train:\r\n  epochs: 3\r\n", "train.epochs", 3),
        ("--- \ntrain: {epochs: 3}\n...\n", "train.epochs", 3),
        ("{}", "train.epochs", 200),
        ("train: {seed: 9223372036854775807}", "train.seed", 2**63 - 1),
    ],
)
def test_values_of_files_are_read_as_written(
    tmp_path: Path, text: str, key: str, value: object
) -> None:
    assert has(read_text(tmp_path, text).config, key, value)


@pytest.mark.parametrize(
    ("argv", "key", "value"),
    [
        (["--optim.lr", "5e-4"], "optim.lr", 5e-4),
        (["--optim.lr=1"], "optim.lr", 1.0),
        (["--model.blocks", "4,5,3"], "model.blocks", (4, 5, 3)),
        (["--model.blocks=[4, 5, 3]"], "model.blocks", (4, 5, 3)),
        (["--model.blocks", "7"], "model.blocks", (7,)),
        (["--model.blocks", "[]"], "model.blocks", ()),
        (["--model.blocks="], "model.blocks", ()),
        (["--augment.mean", "data"], "augment.mean", "data"),
        (["--schedule.cycle_momentum", "false"], "schedule.cycle_momentum", False),
        (["--schedule.cycle_momentum=No"], "schedule.cycle_momentum", False),
        (["--augment.flip", "false"], "augment.flip", "none"),
        (["--augment.flip=Yes"], "augment.flip", "random"),
        (["--augment.flip=alternating"], "augment.flip", "alternating"),
        (["--runtime.exact"], "runtime.exact", True),
        (["--runtime.exact", "--train.epochs", "3"], "runtime.exact", True),
        (["--runtime.exact", "--train.epochs", "3"], "train.epochs", 3),
        (["--runtime.compile"], "runtime.compile", True),
        (["--runtime.compile", "auto"], "runtime.compile", "auto"),
        (["--model.se", "null"], "model.se", None),
        (["--run.name", "-dashed"], "run.name", "-dashed"),
        (["--run.name=--help"], "run.name", "--help"),
        (["--run.name=a=b"], "run.name", "a=b"),
        (["--run.name", "123"], "run.name", "123"),
        (["--run.name="], "run.name", ""),
        (["--data.train", "null"], "data.train", "null"),
    ],
)
def test_values_of_flags_are_read_as_written(argv: list[str], key: str, value: object) -> None:
    assert has(read(*argv).config, key, value)


def test_a_later_null_resets_an_earlier_value(tmp_path: Path) -> None:
    assert read_text(tmp_path, "model: {se: stem}", "--model.se=null").config.model.se is None


def test_switches_may_have_an_optional_value() -> None:
    assert read("--dry-run", "--list").flags == {"dry-run": True, "list": True}
    assert read("--list", "*443", "--dry-run").flags == {"dry-run": True, "list": "*443"}
    assert read("--list=*443").flags == {"list": "*443"}
    assert read("--list", "--train.epochs", "3").flags == {"list": True}


def test_help_lists_every_option_with_default_and_limits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for columns, widest in (("72", 72), ("300", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        with pytest.raises(SystemExit) as stopped:
            read("--train.epochs", "bad", "--help")
        assert stopped.value.code == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        assert printed.out.isascii() and "\x1b" not in printed.out
        assert max(len(line) for line in printed.out.splitlines()) <= widest
        words = " ".join(printed.out.split())
        for setting in settings_of(Config).values():
            assert f"--{setting.key} {setting.limits.doc} ({setting.expected}; default: " in words
        assert "a number, above 0 and at most 100,000; default: 200)" in words
        assert "--list [GLOB] all variants" in words and "--config-file FILE, -C FILE" in words
        assert "python -m x" in words and " S. " in words


@dataclasses.dataclass(frozen=True)
class Source:
    """Another command's section."""

    count: int = option(3, "how many", low=1)


@dataclasses.dataclass(frozen=True)
class Other:
    """Another command's settings."""

    source: Source = section(Source)


def test_any_dataclass_of_sections_can_be_read() -> None:
    @check("source.count")
    def even(config: Other) -> Problems:
        return [("source.count", "expected an even number")] if config.source.count % 2 else []

    parsed = options.read(Other, ["--source.count=4"], program="p", summary="s", checks=[even])
    assert parsed.config == Other(Source(4))
    with pytest.raises(UserError, match=r"^source\.count: expected an even number$"):
        options.read(Other, [], program="p", summary="s", checks=[even])


def test_a_check_is_skipped_where_anything_in_its_section_is_wrong() -> None:
    @check("source.")
    def never(config: Other) -> Problems:
        raise AssertionError

    with pytest.raises(
        UserError, match=r"^--source\.count 0: expected a whole number, at least 1$"
    ):
        options.read(Other, ["--source.count=0"], program="p", summary="s", checks=[never])
