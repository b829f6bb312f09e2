"""Starts and early exits of the loaders, each measured in a process of its own."""

import json
from dataclasses import asdict

import pytest

from benchmarks.loader import startup, startup_child
from benchmarks.loader.startup_child import Task


@pytest.fixture
def task(numbered):
    return Task("start", "ours", str(numbered.source), 64, 1)


def test_a_start_is_timed_from_the_process_to_the_gaps_between_epochs(task):
    answer = startup_child.main(json.dumps(asdict(task)))
    assert 0 < answer["constructor_seconds"] <= answer["first_batch_seconds"]
    assert answer["first_batch_seconds"] < answer["process_to_first_batch_seconds"]
    assert len(answer["epoch_gap_seconds"]) == startup_child.EPOCHS_FOR_GAPS - 1
    assert answer["peak_bytes"] >= answer["peak_bytes_of_imports"] > 0
    assert set(startup.FIGURES) <= answer.keys()


@pytest.mark.slow  # compiles with an empty cache
def test_early_exits_are_counted_after_a_warm_up(numbered, tmp_path):
    # In a process of its own, as in the benchmark: here, threads of other tests end at any time.
    task = Task("exits", "ours", str(numbered.numbered), 64, 1, exits=3)
    left = startup.measure(task, tmp_path)
    assert left["exits"] == 3 and left["before"].keys() == left["after"].keys()
    assert left["after"]["threads"] == left["before"]["threads"] > 0
    assert left["after"]["descriptors"] == left["before"]["descriptors"] > 0
    assert left["import_seconds"] > 0 and left["exit_code"] == 0


def test_an_early_exit_leaves_each_epoch_at_its_first_batch(task, monkeypatch):
    begun = []

    class Loader:
        def epoch(self, number):
            begun.append(number)
            yield number
            raise AssertionError("a second batch was read")

    monkeypatch.setattr(startup_child, "WARM_EXITS", 2)
    left = startup_child.exits(Task(**{**asdict(task), "exits": 3}), Loader)
    assert begun == [0, 1, 0, 1, 2]
    assert left["exits"] == 3 and left["before"].keys() == left["after"].keys()


def test_the_first_start_of_a_cache_is_cold_and_the_others_are_warm(task, tmp_path, monkeypatch):
    caches = []

    def measure(task, cache):
        caches.append(cache.name)
        figures = dict.fromkeys(startup.FIGURES, float(len(caches)))
        return {**figures, "epoch_gap_seconds": [], "set_bytes": None}

    monkeypatch.setattr(startup, "measure", measure)
    cold, warm = startup._starts(task, 2)
    assert caches == ["0", "1", "0", "0"]
    assert cold["import_seconds"]["values"] == [1.0, 2.0]
    assert warm["import_seconds"]["values"] == [3.0, 4.0]
    assert cold["epoch_gap_seconds"] is None
