"""Records of time to accuracy as the command writes them, with figures of the test's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.accuracies.time_to import records


def outcome(accuracy: float, seconds: float, *, foreign: bool = False) -> dict[str, Any]:
    """What a run gives; the accuracy is a share."""
    half = {"epoch": 1, "seconds": seconds / 2, "petaflops": 0.2, "accuracy": accuracy - 0.1}
    source = {"repository": "some/one", "commit": "abc", "file": "x.py"} if foreign else {}
    return {
        "setting": "bf16",
        "epochs": 2,
        "seconds": seconds,
        "petaflops": 0.4,
        "views": {
            "single": {"accuracy": accuracy, "seconds": 3.0, "petaflops": 0.002},
            "six": {"accuracy": accuracy + 0.008, "seconds": 18.0, "petaflops": 0.012},
        },
        "curve": [
            half,
            {"epoch": 2, "seconds": seconds, "petaflops": 0.4, "accuracy": accuracy},
        ],
        "facts": {"recipe": {"epochs": 200, "petaflops": 20.0}, **source},
        "product_tflops": [0.7, 0.8],
        "conditions": {"cpu": "A CPU", "threads": 2, "memory": "kept", "versions": {"torch": "2"}},
    }


def write_record(
    folder: Path,
    family: str,
    label: str,
    seed: int,
    accuracy: float,
    seconds: float,
    *,
    cut: float | None = None,
    setting: str = "",
) -> None:
    """A run that ended at an accuracy in per cent."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() else "-" for letter in label)
    facts = {
        "name": name,
        "label": label,
        "family": family,
        "setting": setting or f"{name:0>8}",
        "seed": seed,
        "rehearsal": False,
        "cut_at": cut,
    }
    content = outcome(accuracy / 100, seconds, foreign=family not in (records.OURS, records.REPORT))
    path = records.file_of(folder, f"{name}-{setting}", seed, str(facts["setting"]))
    records.write(path, facts, content)
