"""Sweeps over many nodes in virtual time, with the real queue, records and locks."""

from __future__ import annotations

import json
import resource
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config.schema import Config, Run
from engine.signals import Stop
from engine.sweep.driver import Driver
from engine.sweep.live import LiveView
from engine.sweep.queue import Queue
from engine.sweep.records import Records
from tests.support.simulated_nodes import SimulatedNodes
from tests.support.sweeps import planned_run


def _silent(line: str) -> None:
    raise AssertionError(line)


def _simulate(
    folder: Path, *, runs: int, nodes: int, slots: int, between_faults: float
) -> tuple[SimulatedNodes, Counter[str]]:
    """One driver to its end; the nodes, and how many executions ended in which way."""
    root = folder / "runs"
    root.mkdir()
    config = Config(run=Run(root=str(root)))
    planned = []
    for number in range(runs):
        name = f"run-{number}"
        planned.append(
            planned_run(
                f"1/{number}",
                fingerprint=f"{number:064x}",
                folder=name,
                config=replace(config, run=replace(config.run, name=name)),
            )
        )
    by_folder = {run.folder: run.fingerprint for run in planned}
    cluster = SimulatedNodes(by_folder, nodes=nodes, slots=slots, between_faults=between_faults)
    records = Records(root)
    with Queue(folder, _silent) as queue:
        with queue.together() as base:
            pass
        base.execute("PRAGMA synchronous = OFF")  # the disk is waited for in other tests
        queue.enrol({run.fingerprint: run.name for run in planned}, set(), retry=False)
        live = LiveView(planned, records, {}, lambda: cluster.slots, quiet=True)
        driver = Driver(
            planned, queue, records, cluster, live, Stop(),
            retries=1, logs=folder / "logs", clock=lambda: cluster.now,
        )  # fmt: skip
        live.warn = lambda line: None  # type: ignore[method-assign]
        assert driver.run() == 0
    with closing(sqlite3.connect(folder / "queue.sqlite")) as file:
        query = "SELECT outcome, count(*) FROM executions GROUP BY outcome"
        outcomes = Counter(dict(file.execute(query).fetchall()))
        assert file.execute("SELECT DISTINCT state FROM runs").fetchall() == [("done",)]
    return cluster, outcomes


def test_whatever_happens_to_nodes_each_run_has_one_result(tmp_path: Path) -> None:
    cluster, outcomes = _simulate(tmp_path, runs=300, nodes=12, slots=2, between_faults=20)
    assert len(cluster.faults) == 3 and cluster.in_flight > 20, "no proof"
    assert set(cluster.results.values()) == {1} and len(cluster.results) == 300
    assert outcomes["done"] == 300, "each was noted once"
    assert outcomes["lost"] + outcomes["failed"] <= cluster.in_flight
    assert outcomes["failed"] < outcomes["lost"] / 3


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_thousand_nodes_and_a_hundred_thousand_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.process_time()
    cluster, outcomes = _simulate(tmp_path, runs=100_000, nodes=1_000, slots=4, between_faults=1)
    spent = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert set(cluster.results.values()) == {1} and len(cluster.results) == 100_000
    assert outcomes["done"] == 100_000
    figures = {
        "faults": dict(cluster.faults), "in flight": cluster.in_flight, "outcomes": outcomes,
        "virtual seconds": round(cluster.now), "CPU seconds": round(spent), "MB": round(memory),
    }  # fmt: skip
    with capsys.disabled():
        print(f"\n{json.dumps(figures)}")
