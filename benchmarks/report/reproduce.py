"""The exact command that makes a run again, from what its record says was set."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from engine.config.schema import Config
from engine.config.settings import settings_of

PROGRAM = "python -m engine.train"


def changed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not as they are by default; `config` by dotted name."""
    found = {}
    for key, setting in settings_of(Config).items():
        default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
        if key in config and config[key] != default:
            found[key] = config[key]
    return found


def unknown(config: Mapping[str, Any]) -> list[str]:
    """Settings that this version does not have."""
    return sorted(config.keys() - settings_of(Config).keys())


def command(config: Mapping[str, Any]) -> str:
    """The command, ready for a shell."""
    words = []
    for key, value in changed(config).items():
        if value is not None:
            text = written(value)
            words += [f"--{key}={text}"] if text.startswith("-") or not text else [f"--{key}", text]
    return f"{PROGRAM} {shlex.join(words)}".strip()


def written(value: Any) -> str:
    """A value as a flag takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(written(item) for item in value)
    return str(value)
