"""Refusals of settings that would silently do nothing."""

from __future__ import annotations

from engine.config.fields import Check, Problems, check
from engine.config.schema import Config
from engine.config.settings import settings_of
from engine.config.wording import either

_SETTINGS = settings_of(Config)


def used_only_with(key: str, switch: str, values: tuple[str, ...]) -> Check[Config]:
    """Refuse `key` where `switch` is not one of `values`."""

    @check(key, switch)
    def problems(config: Config) -> Problems:
        value, setting = _SETTINGS[switch].of(config), _SETTINGS[key]
        if value not in values and setting.of(config) != setting.default:
            yield key, f"only with {either(values)}; {switch} is {value}"

    return problems


def needs(key: str, switch: str, what: str) -> Check[Config]:
    """Refuse `key` where the number `switch` is 0, that is without `what`."""

    @check(key, switch)
    def problems(config: Config) -> Problems:
        if not _SETTINGS[switch].of(config) and _SETTINGS[key].of(config) != _SETTINGS[key].default:
            yield key, f"there is no {what}; {switch} is 0"

    return problems
