"""`fingerprint`: one name for everything that can change a run's result."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Hashable, Mapping
from typing import Any

from engine.config.schema import Config
from engine.config.settings import sections_of, settings_of

FORMAT = 3  # increase it with every change of what is hashed, or how: old runs get new names

# The run's folder, checkpoints, the place of the data in memory, threads, the compiler's cache, how
# batches are counted and tensors copied: none changes what is learned. The budget only refuses
# networks.
WITHOUT_EFFECT = (
    "run.", "checkpoint.", "data.mode", "runtime.threads", "runtime.cache", "model.budget",
    "runtime.count_together", "runtime.copy_at_once",
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
) | frozenset(
    "runtime." + name
    for name in (
        "autotune_limit", "coordinate_descent", "compile_evaluation", "stem_channels",
        "loss_kernel",
    )
) | frozenset(("schedule.warmup", "schedule.warmup_start", "schedule.decay"))  # fmt: skip
# What is loaded counts by its bytes, and only where something is loaded.
WEIGHTS = ("model.weights", "model.weights_classifier")


def fingerprint(config: Config, digests: Mapping[str, str]) -> str:
    """64 hex digits that name the settings and the data; where the data lies does not count.

    `digests` holds the SHA-256 of the two data files as "train" and "test", and that of the
    weights that training starts from, if any, as "weights".
    """
    texts: dict[str, str] = {}  # the JSON of each value by its key
    for name in sections_of(Config):
        texts |= _texts(name, getattr(config, name))
    if config.train.epochs == int(config.train.epochs):
        texts["train.epochs"] = str(int(config.train.epochs))  # as before it could be a fraction
    texts["data.train"] = json.dumps(digests["train"])
    texts["data.test"] = json.dumps(digests["test"])
    if "weights" in digests:
        texts["model.weights"] = json.dumps(digests["weights"])
        texts["model.weights_classifier"] = json.dumps(config.model.weights_classifier)
    settings = ",".join(f'"{key}":{texts[key]}' for key in sorted(texts))
    text = f'{{"format":{FORMAT},"settings":{{{settings}}}}}'  # JSON without spaces
    return hashlib.sha256(text.encode()).hexdigest()


@functools.lru_cache(256)  # the runs of a sweep share most of their sections
def _texts(name: str, section: Hashable) -> dict[str, str]:
    """The JSON of what counts of one section."""
    texts = {}
    for key, setting in settings_of(Config).items():
        if setting.section != name or key.startswith(WITHOUT_EFFECT) or key in WEIGHTS:
            continue
        value = getattr(section, setting.name)
        if key not in ADDED or value != setting.default:
            texts[key] = json.dumps(
                _canonical(value, setting.kind), separators=(",", ":"), allow_nan=False
            )
    return texts


def _canonical(value: Any, kind: type) -> Any:
    if isinstance(value, tuple):
        return [_canonical(item, kind) for item in value]
    if kind is float and isinstance(value, (int, float)):
        return float(value) + 0.0  # 1 is 1.0, and -0.0 is 0.0
    return value
