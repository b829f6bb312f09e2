"""From what was written to the value it means, strictly: nothing is rounded, cut or guessed."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from engine.config.settings import LARGEST_INT, Setting
from engine.config.wording import did_you_mean, shown

TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

# YAML 1.1 would read 010 as 8 and 5e-4 as a word, so numbers are read here, from their letters.
_DIGITS = r"(?:0|[1-9][0-9]*(?:_[0-9]+)*)"
_WHOLE = re.compile(rf"[-+]?{_DIGITS}")
_NUMBER = re.compile(rf"[-+]?(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.?(?:inf|infinity|nan)", re.IGNORECASE)
_LONGEST_WHOLE = 40  # letters; far past every limit, far below where int() refuses


@dataclass(frozen=True)
class Scalar:
    """One written value, still as its letters."""

    text: str
    quoted: bool = False
    is_text: bool = True  # False where YAML takes the letters for a number, flag or null


@dataclass(frozen=True)
class Nested:
    """A mapping where a value belongs; its content does not matter."""


Raw = Scalar | Nested | tuple["Raw", ...] | None


@dataclass(frozen=True)
class Entry:
    """A setting as one place gives it: a line of a file or a flag."""

    key: str
    raw: Raw
    origin: str  # `configs/x.yaml, line 4` or `--train.epochs`
    by_flag: bool = False

    def problem(self, expected: str, hint: str = "") -> str:
        """One line that says where, what is wrong and what was found."""
        if self.by_flag:
            return f"{self.origin} {found(self.raw)}: {expected}{hint}"
        return f"{self.origin}: {self.key}: {expected}, found {found(self.raw)}{hint}"


class Wrong(ValueError):
    """A value that its setting does not take; `hint` follows what was found."""

    def __init__(self, expected: str, hint: str = "") -> None:
        super().__init__(expected + hint)
        self.expected = expected
        self.hint = hint


def value_of(setting: Setting, raw: Raw) -> Any:
    """The value that `raw` means for `setting`; raises `Wrong`."""
    if raw is None:
        if setting.optional:
            return None
        raise Wrong(f"expected {setting.expected}")
    if isinstance(raw, Scalar):
        if raw.text in setting.limits.words:
            return raw.text
        if setting.limits.truth and not raw.quoted and raw.text.lower() in TRUTH:
            return setting.limits.truth[0 if TRUTH[raw.text.lower()] else 1]
        if not setting.many:
            return hold(setting, _single(setting, raw))
    if setting.many and isinstance(raw, tuple):
        return hold(setting, tuple(_entry(setting, item, i) for i, item in enumerate(raw, 1)))
    hint = ""
    if setting.many and isinstance(raw, Scalar) and not raw.quoted:
        hint = f"; write [{shown(raw.text)}]"
    raise Wrong(f"expected {setting.expected}", hint)


def hold(setting: Setting, value: Any) -> Any:
    """`value` again if it has the setting's type and keeps its limits; else raises `Wrong`."""
    if (value is None and setting.optional) or (
        isinstance(value, str) and value in setting.limits.words
    ):
        return value
    wrong = Wrong(f"expected {setting.expected}")
    if setting.many:
        if not isinstance(value, tuple):
            raise wrong
        if setting.limits.length not in (None, len(value)):
            raise Wrong(wrong.expected, f"; it has {len(value)}")
        for item in value:
            _hold_one(setting, item, wrong)
    else:
        _hold_one(setting, value, wrong)
    return value


def found(raw: Raw) -> str:
    """What was written, on one line."""
    if raw is None:
        return "nothing"
    if isinstance(raw, Nested):
        return "a nested mapping"
    if isinstance(raw, tuple):
        return shown(f"[{', '.join(found(item) for item in raw[:20])}]")
    return f'"{shown(raw.text)}"' if raw.quoted and raw.text else shown(raw.text)


def _entry(setting: Setting, raw: Raw, place: int) -> Any:
    try:
        if not isinstance(raw, Scalar):
            raise Wrong("")
        value = _single(setting, raw)
        _hold_one(setting, value, Wrong(""))
        return value
    except Wrong as error:
        hint = f"; entry {place} is {found(raw)}{error.hint}"
        raise Wrong(f"expected {setting.expected}", hint) from None


def _single(setting: Setting, raw: Scalar) -> Any:
    expected = f"expected {setting.expected}"
    text = raw.text
    if setting.kind is str:
        choices = setting.limits.choices
        if choices and text not in choices:
            raise Wrong(expected, did_you_mean(text, choices))
        if not choices and not raw.is_text:
            raise Wrong(expected, "; put it in quotes")
        return text
    if raw.quoted:
        raise Wrong(expected, "; take the quotes off" if text else "")
    if setting.kind is bool:
        if text.lower() not in TRUTH:
            raise Wrong(expected, did_you_mean(text, setting.limits.words))
        return TRUTH[text.lower()]
    if _NOT_FINITE.fullmatch(text):
        raise Wrong(expected, "; it must be finite")
    if setting.kind is int:
        if not _WHOLE.fullmatch(text):
            raise Wrong(expected)
        if len(text) > _LONGEST_WHOLE:
            raise Wrong(expected, "; it is out of range")
        return int(text)
    if not _NUMBER.fullmatch(text):
        raise Wrong(expected)
    return float(text)


def _hold_one(setting: Setting, value: Any, wrong: Wrong) -> None:
    if type(value) is not setting.kind:
        raise wrong
    if isinstance(value, str):
        if setting.limits.choices and value not in setting.limits.choices:
            raise wrong
        if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in value):
            raise Wrong(wrong.expected, "; it has a control character or is not UTF-8")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _hold_number(setting, value, wrong)


def _hold_number(setting: Setting, value: float, wrong: Wrong) -> None:
    if not math.isfinite(value):
        raise Wrong(wrong.expected, "; it must be finite")
    limits = setting.limits
    if limits.low is not None and (value < limits.low or (limits.above and value == limits.low)):
        raise wrong
    if limits.high is not None and (value > limits.high or (limits.below and value == limits.high)):
        raise wrong
    if setting.kind is int and abs(value) > LARGEST_INT:
        raise Wrong(wrong.expected, f"; at most {LARGEST_INT:,}")
