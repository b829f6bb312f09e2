"""Time to an accuracy on each machine whose results hold records of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accuracies.time_to import records, summary, text
from benchmarks.accuracies.time_to.summary import Entry
from benchmarks.records.untrusted import printable

TARGETS = (94.0, 95.0, 96.0)
NOT_YET = "Time to an accuracy: not yet measured."
Table = tuple[str, tuple[str, ...], text.Rows]


@dataclass(frozen=True)
class MachineTimes:
    """The records of one machine."""

    machine: str
    entries: tuple[Entry, ...]

    @property
    def target(self) -> float:
        """The highest of the project's accuracies that ours reached, else the lowest."""
        best = max((e.accuracy.mean for e in self.entries if e.family == records.OURS), default=0.0)
        return max((target for target in TARGETS if target <= best), default=TARGETS[0])

    @property
    def conditions(self) -> list[str]:
        """Machines, threads, versions, and where the peers' code comes from."""
        trials = [trial for entry in self.entries for trial in entry.trials]
        known = dict.fromkeys(trial.conditions for trial in trials)
        return [*known, *dict.fromkeys(trial.source for trial in trials if trial.source)]

    @property
    def goal(self) -> str:
        """Ours as a share of airbench's time."""
        return text.goal(self.entries, self.target)

    def tables(self) -> Iterator[Table]:
        """Title, head and rows of each table that has any."""
        for title, head, rows in (
            ("Settings", text.RESULTS, text.results(self.entries)),
            ("Time to an accuracy", text.TIMES, text.times(self.entries, self.target)),
            ("Differences", text.DIFFERENCES, text.differences(self.entries, self.target)),
        ):
            if rows:
                yield f"{title} on {self.machine}", head, rows


def read(folder: Path, problems: list[str]) -> list[MachineTimes]:
    """The machines below `folder` that have records; rehearsals are none."""
    machines = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and not path.name.startswith("."):
            trials = records.read_all(path / records.FOLDER, problems)
            entries = tuple(summary.entries(trials))
            if entries:
                machines.append(MachineTimes(printable(path.name), entries))
    return machines
