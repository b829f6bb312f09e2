"""The command that repeats a run, from the settings in its record."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from engine.config.schema import Config
from engine.config.settings import settings_of

PROGRAM = "python -m engine.train"


def changed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not the defaults; `config` by dotted name."""
    defaults = {key: setting.default for key, setting in settings_of(Config).items()}
    return {
        key: config[key]
        for key, default in defaults.items()
        if key in config
        and config[key] != (list(default) if isinstance(default, tuple) else default)
    }


def unknown(config: Mapping[str, Any]) -> list[str]:
    """Settings that this version does not have."""
    return sorted(config.keys() - settings_of(Config).keys())


def command(config: Mapping[str, Any]) -> str:
    """The command, ready for a shell."""
    words = []
    for key, value in changed(config).items():
        if value is not None:
            text = as_flag(value)
            words += [f"--{key}={text}"] if text.startswith("-") or not text else [f"--{key}", text]
    return f"{PROGRAM} {shlex.join(words)}".strip()


def as_flag(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(as_flag(item) for item in value)
    return str(value)
