"""`fingerprint`: one name for everything that can change a run's result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from engine.config.schema import Config
from engine.config.settings import settings_of

FORMAT = 3  # increase it with every change of what is hashed, or how: old runs get new names

# The run's folder, checkpoints, the place of the data in memory, threads, the compiler's cache:
# none changes what is learned. The budget only refuses networks.
WITHOUT_EFFECT = (
    "run.", "checkpoint.", "data.mode", "runtime.threads", "runtime.cache", "model.budget",
)  # fmt: skip
# What is loaded counts by its bytes, and only where something is loaded.
WEIGHTS = ("model.weights", "model.weights_classifier")


def fingerprint(config: Config, digests: Mapping[str, str]) -> str:
    """64 hex digits that name the settings and the data; where the data lies does not count.

    `digests` holds the SHA-256 of the two data files as "train" and "test", and that of the
    weights that training starts from, if any, as "weights".
    """
    settings: dict[str, Any] = {}
    for key, setting in settings_of(Config).items():
        if key.startswith(WITHOUT_EFFECT) or key in WEIGHTS:
            continue
        settings[key] = _canonical(setting.of(config), setting.kind)
    settings["data.train"] = digests["train"]
    settings["data.test"] = digests["test"]
    if "weights" in digests:
        settings["model.weights"] = digests["weights"]
        settings["model.weights_classifier"] = config.model.weights_classifier
    content = {"format": FORMAT, "settings": settings}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any, kind: type) -> Any:
    if isinstance(value, tuple):
        return [_canonical(item, kind) for item in value]
    if kind is float and isinstance(value, (int, float)):
        return float(value) + 0.0  # 1 is 1.0, and -0.0 is 0.0
    return value
