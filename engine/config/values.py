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
NUMBER = re.compile(rf"[-+]?(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
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
        """One line that says where, what is wrong and what was written."""
        if self.by_flag:
            return f"{self.origin} {text_of(self.raw)}: {expected}{hint}"
        return f"{self.origin}: {self.key}: {expected}, found {text_of(self.raw)}{hint}"


class InvalidValue(ValueError):
    """A value that `setting` does not accept; messages end with `hint`."""

    def __init__(self, setting: Setting, hint: str = "") -> None:
        self.expected = f"expected {setting.expected}"
        self.hint = hint
        super().__init__(self.expected + hint)


def value_of(setting: Setting, raw: Raw) -> Any:
    """The value that `raw` means for `setting`; raises `InvalidValue`."""
    if raw is None and setting.optional:
        return None
    hint = ""
    if isinstance(raw, Scalar):
        if raw.text in setting.limits.words:
            return raw.text
        if setting.limits.truth and not raw.quoted and raw.text.lower() in TRUTH:
            return setting.limits.truth[0 if TRUTH[raw.text.lower()] else 1]
        if not setting.many:
            return _parse(setting, raw)
        hint = "" if raw.quoted else f"; write [{shown(raw.text)}]"
    if setting.many and isinstance(raw, tuple):
        items = tuple(_item(setting, item, place) for place, item in enumerate(raw, 1))
        if setting.limits.length not in (None, len(items)):
            raise InvalidValue(setting, f"; it has {len(items)}")
        return items
    raise InvalidValue(setting, hint)


def text_of(raw: Raw) -> str:
    """What was written, on one line."""
    if raw is None:
        return "nothing"
    if isinstance(raw, Nested):
        return "a nested mapping"
    if isinstance(raw, tuple):
        return shown(f"[{', '.join(text_of(item) for item in raw[:20])}]")
    return f'"{shown(raw.text)}"' if raw.quoted and raw.text else shown(raw.text)


def _item(setting: Setting, raw: Raw, place: int) -> Any:
    hint = ""
    if isinstance(raw, Scalar):
        try:
            return _parse(setting, raw)
        except InvalidValue as error:
            hint = error.hint
    raise InvalidValue(setting, f"; entry {place} is {text_of(raw)}{hint}")


def _parse(setting: Setting, raw: Scalar) -> Any:
    text, limits = raw.text, setting.limits
    if setting.kind is str:
        if limits.choices and text not in limits.choices:
            raise InvalidValue(setting, did_you_mean(text, limits.choices))
        if not limits.choices and not raw.is_text:
            raise InvalidValue(setting, "; put it in quotes")
        if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text):
            raise InvalidValue(setting, "; it has a control character or is not UTF-8")
        return text
    if raw.quoted:
        raise InvalidValue(setting, "; take the quotes off" if text else "")
    if setting.kind is bool:
        if text.lower() not in TRUTH:
            raise InvalidValue(setting, did_you_mean(text, limits.words))
        return TRUTH[text.lower()]
    if _NOT_FINITE.fullmatch(text):
        raise InvalidValue(setting, "; it must be finite")
    if not (_WHOLE if setting.kind is int else NUMBER).fullmatch(text):
        raise InvalidValue(setting)
    if setting.kind is int and len(text) > _LONGEST_WHOLE:
        raise InvalidValue(setting, "; it is out of range")
    value = setting.kind(text)
    if not math.isfinite(value):  # such as 1e999
        raise InvalidValue(setting, "; it must be finite")
    low, high = limits.low, limits.high
    if low is not None and (value < low or (limits.above and value == low)):
        raise InvalidValue(setting)
    if high is not None and (value > high or (limits.below and value == high)):
        raise InvalidValue(setting)
    if setting.kind is int and abs(value) > LARGEST_INT:
        raise InvalidValue(setting, f"; at most {LARGEST_INT:,}")
    return value
