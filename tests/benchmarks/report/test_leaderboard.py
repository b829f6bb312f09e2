"""The best of the runs that are there: which come first, how they differ, what chance is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.records import plans, runs
from benchmarks.report.groups import at_chance, run_groups
from benchmarks.report.leaderboard import Leaderboard, leaderboards
from tests.support.records import plan_entry, record, write_plan, write_run


def boards_in(root: Path) -> list[Leaderboard]:
    records, planned = runs.read(root), plans.read(root)
    return leaderboards(records, run_groups(records, planned), planned)


def write(root: Path, *contents: dict[str, Any]) -> None:
    for number, content in enumerate(contents):
        write_run(root, f"r{number}", content)


def test_leaders_are_named_by_the_settings_in_which_they_differ(tmp_path: Path) -> None:
    sizes = (0, 8, 16)
    write(
        tmp_path,
        *(
            record(seed=seed, accuracy=0.9 + size / 1000, settings={"augment": {"cutout": size}})
            for size in sizes
            for seed in range(2)
        ),
    )
    (board,) = boards_in(tmp_path)
    assert [leader.settings for leader in board.leaders] == [
        ("augment.cutout=16",),
        ("augment.cutout=8",),
        ("augment.cutout=0",),
    ]
    assert [leader.group.accuracy.n for leader in board.leaders] == [2, 2, 2]
    labels = {(series.label, *series.settings) for series in board.series}
    assert labels == {("resnet453", f"augment.cutout={size}") for size in sizes}


def test_a_setting_that_nearly_all_runs_share_is_named_where_it_differs(tmp_path: Path) -> None:
    settings = [{"optim": {"lr": number / 10}} for number in range(1, 11)]
    odd: dict[str, dict[str, Any]] = {"optim": {"lr": 2.0}, "augment": {"normalize": False}}
    write(tmp_path, *(record(accuracy=0.9, settings=each) for each in (*settings, odd)))
    (board,) = boards_in(tmp_path)
    named = {leader.settings for leader in board.leaders}
    assert ("augment.normalize=false", "optim.lr=2.0") in named
    assert ("optim.lr=0.1",) in named and len(named) == 11


def test_of_many_differences_only_the_unusual_settings_are_named(tmp_path: Path) -> None:
    usual = {
        "optim": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005},
        "augment": {"cutout": 0, "autoaugment": False},
        "schedule": {"name": "cosine", "gamma": 0.1},
    }
    odd = {
        "optim": {"lr": 0.2, "momentum": 0.8, "weight_decay": 0.0},
        "augment": {"cutout": 4, "autoaugment": True},
        "schedule": {"name": "step", "gamma": 0.5},
    }
    contents = [record(accuracy=0.9, settings=usual)]
    for section, values in odd.items():
        for key, value in values.items():
            settings = usual | {section: usual[section] | {key: value}}
            contents.append(record(accuracy=0.8, settings=settings))
    write(tmp_path, *contents)
    (board,) = boards_in(tmp_path)
    assert board.leaders[0].settings == ()
    others = {setting for leader in board.leaders[1:] for setting in leader.settings}
    assert {"optim.lr=0.2", "augment.autoaugment=true", "schedule.name=step"} <= others
    assert all(len(leader.settings) == 1 for leader in board.leaders[1:])


def test_a_networks_parts_are_named_only_among_networks_of_one_name(tmp_path: Path) -> None:
    write(
        tmp_path,
        record("resnet453", settings={"model": {"dropout": 0.1}}),
        record("resnet453", settings={"model": {"dropout": 0.2}}),
        record("resnet1111"),
    )
    (board,) = boards_in(tmp_path)
    words = {(leader.group.runs[0].name, leader.settings) for leader in board.leaders}
    assert words == {
        ("resnet453", ("model.dropout=0.1",)),
        ("resnet453", ("model.dropout=0.2",)),
        ("resnet1111", ()),
    }


def test_the_first_board_has_the_runs_with_the_most_training(tmp_path: Path) -> None:
    many = [
        record(epochs=1, accuracy=0.12, settings={"optim": {"lr": lr}}, precision="fp32")
        for lr in (0.1, 0.2, 0.3, 0.4)
    ]
    write(tmp_path, *many, record(epochs=5, accuracy=0.36))
    first, second = boards_in(tmp_path)
    assert (len(first.leaders), first.leaders[0].group.accuracy.mean) == (1, 36)
    assert len(second.leaders) == 4


def test_shared_runs_name_all_their_experiments(tmp_path: Path) -> None:
    content = record()
    write(tmp_path, content)
    write_plan(tmp_path, [plan_entry(content, "4.1/a/s0"), plan_entry(content, "4.5/b/s0")])
    (board,) = boards_in(tmp_path)
    assert board.leaders[0].group.experiments == "4.1, 4.5"


def test_the_best_is_compared_with_the_next_as_compare_does(tmp_path: Path) -> None:
    contents = [
        record(seed=seed, accuracy=base + seed / 1000, settings={"optim": {"lr": base}})
        for base in (0.8, 0.9)
        for seed in range(3)
    ]
    write(tmp_path, *contents)
    (board,) = boards_in(tmp_path)
    ((leader, result),) = board.comparisons()
    assert leader.settings == ("optim.lr=0.8",)
    accuracy = result.comparisons[0]
    assert (accuracy.measure, accuracy.verdict) == ("test accuracy", "better")
    assert round(accuracy.difference.difference, 6) == 10


def test_a_result_within_noise_of_guessing_is_known(tmp_path: Path) -> None:
    def chance_of(name: str, *accuracies: float) -> set[str]:
        contents = [
            record(accuracy=each, settings={"optim": {"lr": number + 1.0}})
            for number, each in enumerate(accuracies)
        ]
        write(tmp_path / name, *contents)
        records = runs.read(tmp_path / name)
        chances = at_chance(run_groups(records, plans.read(tmp_path / name)))
        assert set(chances.values()) <= {10.0}
        return set(chances)

    assert chance_of("by the images", 0.1, 0.105, 0.107, 0.2) == {"r0", "r1"}
    # As far above as another is below: networks that have hardly learned are this noisy.
    assert chance_of("by the others", 0.075, 0.1267, 0.124, 0.3695) == {"r0", "r2"}
