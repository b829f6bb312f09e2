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
# Settings that are newer than the format: each counts where it differs from its default, so that
# the runs of before keep their names.
ADDED = frozenset(
    "augment." + name
    for name in (
        "cutout_fill", "erasing", "brightness", "contrast", "saturation", "mixup", "cutmix",
        "sizes", "sizes_until",
    )
) | frozenset(
    "model." + name
    for name in (
        "stem", "transition", "activation", "norm_scale", "norm_eps", "norm_momentum", "pool_kind",
        "classifier_bias", "logit_scale", "classifier_std",
    )
) | frozenset(
    "train." + name
    for name in ("drop_last", "label_smoothing", "freeze_layers", "freeze_from", "tta")
) | frozenset(
    "optim." + name
    for name in (
        "decay_biases", "norm_lr", "norm_weight_decay", "head_lr", "head_weight_decay", "rest_lr",
        "rest_weight_decay", "rest_momentum", "stem_bias_epochs", "muon_steps", "muon_normalise",
        "lookahead_power", "lookahead_buffers", "lookahead_end", "ema_decay", "ema_every",
        "ema_start",
    )
) | frozenset(("schedule.warmup", "schedule.warmup_start", "schedule.decay"))  # fmt: skip
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
        value = setting.of(config)
        if key not in ADDED or value != setting.default:
            settings[key] = _canonical(value, setting.kind)
    if config.train.epochs == int(config.train.epochs):
        settings["train.epochs"] = int(config.train.epochs)  # as before it could be a fraction
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
