"""Whatever a file or a command line holds: a complete configuration or a UserError."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config import checks, options
from engine.config.schema import Config
from engine.config.settings import settings_of
from engine.errors import UserError
from tests.support.settings import valid_values

SETTINGS = settings_of(Config)
FLAGS = [options.Flag("dry-run", "check"), options.Flag("list", "variants", "GLOB")]
QUICK = settings(
    max_examples=80,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ODDITIES = """
3 -1 0 5.9 1e-3 .nan .inf 1e999 true no null ~ auto data global sgd cuda:0 '5' "x" [] [3] [1,2,3]
[0.1,0.2,0.3] {} {a:b} *a &a !!int !x | > - ? : # % @ ` 010 0x1F 1_0 1:30 <<
"""
VALUES = st.sampled_from(ODDITIES.split()) | st.text(max_size=12)
NAMES = (
    st.sampled_from([*SETTINGS])
    | st.sampled_from([part for key in SETTINGS for part in key.split(".")])
    | st.text(max_size=12)
)
BREAKS = st.sampled_from(["\n", "\n  ", "\n    ", " ", ", ", "\n---\n", "\n\t", "\r\n", ""])
LINES = st.tuples(NAMES, st.sampled_from([": ", ":", " ", ":\n  ", ": {"]), VALUES, BREAKS)
TEXTS = st.lists(LINES.map("".join), max_size=8).map("".join)
WORDS = (
    NAMES.map("--{}".format)
    | st.tuples(NAMES, VALUES).map(lambda pair: f"--{pair[0]}={pair[1]}")
    | VALUES
    | st.sampled_from(["--dry-run", "--list", "-C", "--config-file", "--", "-", "--=", "--help"])
)


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def outcome(argv: list[str]) -> options.Parsed[Config] | None:
    """What reading gives: a configuration, or None for a UserError or help; all else raises."""
    try:
        parsed = options.read(
            Config, argv, program="p", summary="s", flags=FLAGS, checks=checks.TRAINING
        )
    except UserError as error:
        assert error.problems
        assert all(line and line.isprintable() for line in error.problems), error.problems
        return None
    except SystemExit as stopped:
        assert stopped.code == 0
        assert {"--help", "-h"} & set(argv)
        return None
    complete(parsed.config)
    return parsed


def complete(config: Config) -> None:
    for setting in SETTINGS.values():
        value = setting.of(config)
        for item in value if isinstance(value, tuple) else (value,):
            right = type(item) is int and setting.key == "train.epochs"  # where it is whole
            right = right or isinstance(item, setting.kind) or item in setting.limits.words
            assert right or (item is None and setting.optional)
            assert not isinstance(item, float) or math.isfinite(item)


@QUICK
@given(content=(TEXTS | st.text(max_size=60)).map(as_bytes) | st.binary(max_size=80))
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    outcome([f"--config-file={path}"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.yaml"]


@QUICK
@given(key=st.sampled_from([*SETTINGS]), text=VALUES)
def test_any_value_of_a_setting_is_read_or_refused(tmp_path: Path, key: str, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(as_bytes(f"{key}: {text}"))
    outcome([f"--config-file={path}"])
    outcome([f"--{key}={text}"])
    outcome([f"--{key}", text])


@QUICK
@given(argv=st.lists(WORDS, max_size=6))
def test_any_command_line_is_read_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome(argv)
    assert list(tmp_path.iterdir()) == []


def as_argument(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return ",".join(map(repr, value))
    return value if isinstance(value, str) else repr(value).lower()


@QUICK
@given(data=st.data())
def test_the_printed_config_reads_back_as_the_same(tmp_path: Path, data: st.DataObject) -> None:
    keys = data.draw(st.sets(st.sampled_from([*SETTINGS]), max_size=6))
    wanted = {key: data.draw(valid_values(SETTINGS[key]), label=key) for key in sorted(keys)}
    argv = [f"--{key}={as_argument(value)}" for key, value in wanted.items()]
    parsed = options.read(Config, argv, program="p", summary="s")
    for key, value in wanted.items():
        setting = SETTINGS[key]
        assert setting.of(parsed.config) == value
    path = tmp_path / "c.yaml"
    path.write_text(options.render(parsed), encoding="utf-8", newline="")
    again = options.read(Config, [f"--config-file={path}"], program="p", summary="s")
    assert repr(again.config) == repr(parsed.config)  # repr: -0.0 is not 0.0 here
