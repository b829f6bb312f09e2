"""Sweeps on Ray nodes of this machine: whatever is killed, each run ends once."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import python, run, start
from tests.support.ray_nodes import RayNodes
from tests.support.sweeps import Sweep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray"),
]
RUNS, EPOCHS = 10, 300


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[RayNodes]:
    with RayNodes(tmp_path) as nodes:
        yield nodes


class _Driver:
    """`engine.sweep --on ray` as a process, whose messages are in a file."""

    def __init__(self, sweep: Sweep, nodes: RayNodes, number: int) -> None:
        self._path = sweep.folder / f"driver-{number}.log"
        on = ("--on", f"ray:{nodes.address}", "--agents", "2", "--jobs", "2", "--retries", "0")
        words = sweep.arguments(*on, "--checkpoint.every_epochs", "20")
        with open(self._path, "w") as log:
            self.process = start(
                *python("-m", "engine.sweep", *words), environment=nodes.environment,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self._path.read_text()

    def wait_for(self, message: str, times: int = 1) -> None:
        until = time.monotonic() + 400
        while self.text.count(message) < times:
            assert self.process.poll() is None and time.monotonic() < until, self.text
            time.sleep(0.1)


def _trained(sweep: Sweep) -> dict[str, int]:
    """Epochs of the runs that are not finished."""
    return {
        path.parent.name: path.read_text().count("\n")
        for path in sweep.root.glob("*/log.jsonl")
        if not (path.parent / "weights.safetensors").exists()
    }


def _wait_until_some_train(sweep: Sweep, driver: _Driver, runs: int) -> None:
    before, until = _trained(sweep), time.monotonic() + 400
    while sum(lines > before.get(name, 0) for name, lines in _trained(sweep).items()) < runs:
        assert driver.process.poll() is None and time.monotonic() < until, driver.text
        time.sleep(0.1)


def test_nodes_and_the_driver_are_killed_and_each_run_ends_once(
    sweep: Sweep, nodes: RayNodes
) -> None:
    axis = ", ".join(str(number / 100) for number in range(1, RUNS + 1))
    sweep.write(f'  - {{id: "1", title: Many, axes: {{optim.lr: [{axis}]}}}}', epochs=EPOCHS)
    first, second = nodes.join(2), nodes.join(2)
    driver = _Driver(sweep, nodes, 1)
    _wait_until_some_train(sweep, driver, 4)
    nodes.kill(first)
    driver.wait_for(": lost with ", 2)
    third = nodes.join(2)
    _wait_until_some_train(sweep, driver, 3)
    nodes.kill_raylet(second)
    driver.wait_for(": lost with ", 3)
    nodes.join(2)
    _wait_until_some_train(sweep, driver, 2)
    driver.process.send_signal(signal.SIGKILL)
    driver.process.wait(20)
    stamps = sweep.stamps()
    assert third.poll() is None
    again = _Driver(sweep, nodes, 2)
    assert again.process.wait(900) == 0, again.text
    assert " left\n" in again.text, "the time left is estimated from the rates of a node"

    records = sweep.records()
    assert len(records) == RUNS
    assert {(each["status"], each["epochs"]) for each in records.values()} == {("finished", EPOCHS)}
    assert {name: sweep.stamps()[name] for name in stamps} == stamps, "none was trained twice"
    assert sorted(sweep.printed()) == sorted(records), "each result was printed once"
    assert sweep.query("SELECT DISTINCT attempts FROM runs") == [(0,)], "no death is a failure"
    outcomes = dict(sweep.query("SELECT outcome, count(*) FROM executions GROUP BY outcome"))
    assert outcomes.pop("done") == RUNS
    outcomes.pop("busy", None)  # looks at runs that outlived their node
    assert 3 <= outcomes["lost"] <= 4 and 1 <= outcomes["orphaned"] <= 4 and len(outcomes) == 2
    hosts = sweep.query("SELECT DISTINCT host FROM executions WHERE outcome IN ('done', 'lost')")
    assert len(hosts) >= 3 and all("node " in host for (host,) in hosts)


@pytest.fixture
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="e-", dir="/tmp") as folder:  # a socket's path is short
        yield Path(folder)


def test_a_ray_of_this_machine_copies_the_data_and_stops_politely(
    sweep: Sweep, scratch: Path
) -> None:
    sweep.write('  - {id: "1", title: Two, axes: {optim.lr: [0.1, 0.2]}}', epochs=5_000)
    words = sweep.arguments("--on", "ray", "--jobs", "2")
    for path in (sweep.files.train, sweep.files.test):
        words[words.index(str(path))] = path.name  # not found from where the agents are
    driver = start(
        *python("-m", "engine.sweep", *words), cwd=sweep.files.train.parent,
        environment={"TMPDIR": str(scratch), "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    while len(_trained(sweep)) < 2:
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.1)
    driver.send_signal(signal.SIGTERM)
    _out, err = driver.communicate(120)
    assert driver.returncode == 75, err
    assert "stopped with 0 of 2 runs done; the same command continues" in err
    for record in sweep.records().values():
        assert record["status"] == "interrupted" and record["saved_step"] == record["steps"] > 0
    assert len(list(scratch.glob("engine-*/*.beton"))) == 2


def test_a_cluster_that_is_not_there_or_open_to_all_is_refused(sweep: Sweep) -> None:
    command = python("-m", "engine.sweep", *sweep.arguments("--on", "ray:127.0.0.1:1"))
    done = run(*command, environment={"RAY_AUTH_MODE": "disabled"})
    assert done.returncode == 2 and "RAY_AUTH_MODE is disabled" in done.stderr
