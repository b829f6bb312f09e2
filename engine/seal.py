"""A digest inside a JSON object of everything else in it, so that damage and edits are noticed.

An object without one, by hand or of an older version, is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def sealed(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """`content` with its digest under `key`, last."""
    others = _without(content, key)
    return others | {key: _digest(others)}


def is_broken(content: Mapping[str, Any], key: str) -> bool:
    """Whether there is a digest, of another content than this."""
    return key in content and content[key] != _digest(_without(content, key))


def _without(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
