"""The command that repeats a run."""

from __future__ import annotations

from benchmarks.report import reproduce
from engine.config import options
from engine.config.schema import Config, as_dict
from tests.support.processes import succeed


def test_the_command_of_a_run_repeats_its_settings() -> None:
    config = as_dict(Config())
    config["model"] |= {"blocks": [2, 1, 1], "widths": [16], "se": "stem"}
    config["optim"] |= {"lr": 5e-05, "nesterov": True, "name": "adam"}
    config["augment"] |= {"mean": "data", "std": [0.247, 0.243, 0.261], "flip": "none"}
    config["run"] |= {"name": "a name with spaces; and $more", "root": "-odd"}
    config["runtime"] |= {"compile": False}
    dotted = {f"{s}.{k}": v for s, values in config.items() for k, v in values.items()}
    words = succeed("bash", "-c", f"printf '%s\\n' {reproduce.command(dotted)}")
    argv = words.splitlines()[3:]
    assert as_dict(options.read(Config, argv, program="p", summary="s").config) == config
