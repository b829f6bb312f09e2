"""Recipes: plain configuration files that a sweep names, `configs/recipes/T4.yaml` by `T4`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config.schema import Config
from engine.config.settings import sections_of, settings_of
from engine.config.values import Entry
from engine.config.wording import did_you_mean, shown
from engine.config.yaml_file import read_file

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@dataclass(frozen=True)
class Recipe:
    """How to train, without a network."""

    name: str
    entries: tuple[Entry, ...] = ()


class Recipes:
    """The recipes that sweep files name; each is read once, and its problems reported once."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._known: dict[Path, Recipe] = {}

    def find(self, name: str, sweep_file: Path) -> Recipe | str:
        """The recipe that `sweep_file` names, or a message why there is none."""
        folders = _folders(sweep_file)
        for folder in folders:
            path = folder / f"{name}.yaml"
            if "/" not in name and path.is_file():
                return self._read(name, path)
        names = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
        where = did_you_mean(name, names) or (
            f"; there are {', '.join(names)}" if names else f"; {shown(str(folders[0]))} has none"
        )
        return f"no recipe {shown(name)}{where}"

    def _read(self, name: str, path: Path) -> Recipe:
        if path not in self._known:
            content = read_file(path, settings_of(Config), sections_of(Config))
            self.problems += content.problems
            self._known[path] = Recipe(name, tuple(content.entries))
        return self._known[path]


def _folders(sweep_file: Path) -> Sequence[Path]:
    """Beside the sweep's folder, in it, and the project's own."""
    here = sweep_file.parent
    return (here.parent / "recipes", here / "recipes", CONFIGS / "recipes")
