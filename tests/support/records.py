"""Folders of runs and sweeps as training leaves them, without training: any number, any state."""

from __future__ import annotations

import hashlib
import json
import math
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from engine.config.schema import Config, as_dict

NETS = {  # variant: parameters, typical accuracy
    "resnet1111": (4_903_242, 0.9435),
    "resnet224": (5_139_018, 0.9546),
    "resnet224_w64_128_250": (4_939_902, 0.9503),
    "resnet453": (4_992_586, 0.9566),
    "se_resnet443": (4_697_742, 0.9540),
    "resnet2111_w16": (313_498, 0.9090),
    "resnet2111_w32": (1_247_530, 0.9345),
}


def record(
    variant: str = "resnet453",
    seed: int = 0,
    *,
    epochs: int = 20,
    accuracy: float | None = None,
    settings: dict[str, dict[str, Any]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """What `record.json` holds after a run."""
    params, usual = NETS.get(variant, (1_000_000, 0.9))
    draw = random.Random(f"{variant} {seed} {settings}")
    reached = usual + draw.gauss(0, 0.0015) if accuracy is None else accuracy
    config = as_dict(Config())
    config["model"]["name"] = variant
    config["train"] |= {"epochs": epochs, "seed": seed}
    for section, values in (settings or {}).items():
        config[section] |= values
    identity = hashlib.sha256(json.dumps([config, more], sort_keys=True).encode()).hexdigest()
    return {
        "format": 1,
        "status": "finished",
        "variant": variant,
        "params": params,
        "flops": {"forward": 350 * params, "training": 1050 * params},
        "config": config,
        "fingerprint": identity,
        "seed": seed,
        "data_digests": {"train": "a" * 64, "test": "b" * 64},
        "classes": [f"class {number}" for number in range(10)],
        "image_side": 32,
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
        "train_images": 50_000,
        "validation_images": 0,
        "test_images": 10_000,
        "versions": {"torch": "2.11.0"},
        "device": "A Device",
        "precision": "bf16",
        "compiled": False,
        "epochs": epochs,
        "steps": epochs * 391,
        "seconds": 10.0 * epochs * params / 5e6,
        "images_per_second": round(5000 * 5e6 / params * draw.uniform(0.97, 1.03), 1),
        "test_accuracy": reached,
        "test_loss": 0.2,
        "train_accuracy": min(1.0, reached + 0.04),
        "train_loss": 0.01,
        "best_test_accuracy": min(1.0, reached + 0.001),
        "best_test_epoch": max(1, epochs - 1),
        "best_validation_accuracy": None,
        "best_validation_epoch": None,
        **more,
    }


def log(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a run's log, the last as in its record."""
    draw = random.Random(content["fingerprint"])
    epochs, last = content["epochs"], content["test_accuracy"] or 0.5
    watched = "validation" if content["validation_images"] else "test"
    lines = []
    for epoch in range(1, epochs + 1):
        share = 1 - math.exp(-4 * epoch / epochs) + (math.exp(-4) if epoch == epochs else 0)
        jump = 0.03 * draw.random() * (1 - epoch / epochs) ** 2  # less and less, as lr falls
        lines.append(
            {
                "epoch": epoch,
                "step": epoch * 391,
                "lr": 0.05 * (1 + math.cos(math.pi * epoch / epochs)),
                "train_loss": 2.3 * (1 - share) + 0.01,
                "train_accuracy": share,
                f"{watched}_loss": 2.3 * (1 - share) + 0.2,
                f"{watched}_accuracy": last * share * (1 - jump),
                "images_per_second": (content["images_per_second"] or 1000.0)
                * draw.uniform(0.98, 1.02),
                "seconds": content["seconds"] * epoch / epochs,
            }
        )
    finished = content["status"] == "finished"
    if finished and lines:
        for key in lines[-1]:
            if key.endswith(("_loss", "_accuracy")) and key in content:
                lines[-1][key] = content[key]
    return lines


def write_run(
    root: Path, name: str, content: dict[str, Any], lines: Sequence[dict[str, Any]] | None = None
) -> Path:
    """A run's folder without weights or checkpoints; `lines` are those of its log."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(content))
    (folder / "config.json").write_text(json.dumps(content["config"]))
    (folder / "environment.json").write_text(
        json.dumps({"device": content["device"], "threads": 2, "command": ["train.py", "--x"]})
    )
    lines = log(content) if lines is None else lines
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def plan_entry(
    content: dict[str, Any],
    name: str,
    *,
    report: str = "004",
    title: str = "Model 5",
    recipe: str = "T4",
    values: Sequence[dict[str, Any]] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """A run's entry in a plan."""
    return {
        "name": name,
        "report": report,
        "experiment": name.split("/")[0],
        "title": title,
        "recipe": recipe,
        "why": "what the code ran",
        "variant": content["variant"],
        "params": content["params"],
        "petaflops": 12.3,
        "seed": content["seed"],
        "config": content["config"],
        "differs": {},
        "fingerprint": content["fingerprint"],
        "folder": name.replace("/", "-"),
        "reported": list(values),
        "notes": list(notes),
    }


def reported(
    value: float, statistic: str = "last", evidence: str = "report", note: str = "", **more: Any
) -> dict[str, Any]:
    """A reported value in a plan; `more` are the keys that say what else it is about."""
    return {"value": value, "statistic": statistic, "evidence": evidence, "note": note, **more}


def write_plan(
    root: Path,
    runs: Sequence[dict[str, Any]],
    *,
    sweep: str = "report_004",
    scale: float = 1.0,
    limit: int = 0,
    queue: Sequence[tuple[str, str, str]] = (),
) -> Path:
    """A sweep's folder; `queue` has a fingerprint, a state and an error per run."""
    folder = root / "sweeps" / sweep
    folder.mkdir(parents=True)
    plan = {
        "format": 1,
        "sweep": sweep,
        "title": "Report 004, five small ResNets",
        "conditions": {"epochs_scale": scale, "data_limit": limit},
        "runs": list(runs),
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    with closing(sqlite3.connect(folder / "queue.sqlite")) as database, database:
        database.execute(
            "CREATE TABLE runs (fingerprint TEXT PRIMARY KEY, state TEXT, attempts INT, error TEXT)"
        )
        database.executemany("INSERT INTO runs VALUES (?, ?, 1, ?)", list(queue))
    return folder
