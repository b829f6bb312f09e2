"""The job scripts for Slurm, with stand-ins for its commands, for Python and for Ray."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import time
from pathlib import Path
from subprocess import Popen

import pytest

from tests.support.paths import ROOT
from tests.support.processes import run, start

SCRIPTS = ROOT / "tools" / "slurm"
SECONDS = 200

# What a stand-in was called with goes to `calls`; one that waits ends with END on a signal.
CALL = '#!/bin/bash\necho "$(basename "$0") $*" >>"$CALLS"\n'
WAITS = 'trap \'echo "$(basename "$0") got USR1" >>"$CALLS"; sleep 0.1; exit "$END"\' USR1 TERM\n'
COMMANDS = {
    "srun": CALL + 'exec "$@"\n',  # it forwards signals
    "scontrol": CALL + 'if [ "$1" = show ]; then printf "node7\\nnode8\\n"; fi\n',
    "python": CALL
    + 'if [ "$1" = -c ]; then echo 0123456789abcdef; exit; fi\n'
    + WAITS
    + 'if [ -n "$WAIT" ]; then touch "$CALLS.waits"; while :; do sleep 0.05; done; fi\n'
    + 'exit "$END"\n',
    "ray": CALL
    + 'if [ "$1" = status ]; then exit 0; fi\n'
    + 'trap \'exit 0\' TERM\necho "token $RAY_AUTH_MODE $RAY_AUTH_TOKEN" >>"$CALLS"\n'
    + 'touch "$CALLS.ray"; while :; do sleep 0.05; done\n',
    "hostname": "#!/bin/bash\necho node1\n",
}


class _Slurm:
    """A folder with stand-ins, and what they were called with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        self.shared = folder / "shared"
        for name, text in COMMANDS.items():
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)

    def environment(self, end: int, *, wait: bool = False, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "FOLDER": str(self.shared),
            "END": str(end),
            "WAIT": "1" if wait else "",
            "TMPDIR": str(self.folder),
            "SLURM_JOB_ID": "4321",
            **more,
        }

    def start(self, script: str, *words: str, end: int, wait: bool, **more: str) -> Popen[str]:
        environment = self.environment(end, wait=wait, **more)
        return start("bash", SCRIPTS / script, *words, environment=environment)

    def end_of(self, process: Popen[str]) -> tuple[int, str]:
        """Its exit code and what it wrote to stderr."""
        _, err = process.communicate(timeout=SECONDS)
        return process.returncode, err

    def wait_for(self, name: str) -> None:
        until = time.monotonic() + SECONDS
        while not (self.folder / name).exists():
            assert time.monotonic() < until, self.lines()
            time.sleep(0.02)

    def lines(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def slurm(tmp_path: Path) -> _Slurm:
    return _Slurm(tmp_path)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_no_complaint() -> None:
    done = run("shellcheck", *sorted(SCRIPTS.glob("*.sbatch")))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["train", "head", "workers"])
def test_each_script_is_signalled_before_its_end_and_can_be_queued_again(name: str) -> None:
    text = (SCRIPTS / f"{name}.sbatch").read_text()
    assert text.startswith("#!/bin/bash\n")
    for option in ("--signal=B:USR1@120", "--requeue", "--open-mode=append"):
        assert f"#SBATCH {option}\n" in text


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_job_that_ended_is_not_queued_again(slurm: _Slurm, code: int) -> None:
    flags = ("--config-file", "a b.yaml")
    more = {"SLURM_GPUS_ON_NODE": "4"}
    process = slurm.start("train.sbatch", *flags, end=code, wait=False, **more)
    assert slurm.end_of(process)[0] == code
    command = "python -m engine.launch --ranks 4 -- --config-file a b.yaml"
    assert slurm.lines() == [f"srun {command}", command]


@pytest.mark.parametrize("code", [75, 1])
def test_before_the_end_of_a_job_training_is_signalled_and_queued_again_if_it_saved(
    slurm: _Slurm, code: int
) -> None:
    process = slurm.start("train.sbatch", end=code, wait=True, RANKS="2")
    slurm.wait_for("calls.waits")
    process.send_signal(signal.SIGUSR1)
    assert slurm.end_of(process)[0] == code
    lines = slurm.lines()
    assert "python got USR1" in lines
    assert ("scontrol requeue 4321" in lines) == (code == 75)


def test_several_machines_meet_at_the_first(slurm: _Slurm) -> None:
    more = {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[7-8]", "RANKS": "8"}
    assert slurm.end_of(slurm.start("train.sbatch", end=0, wait=False, **more))[0] == 0
    command = "python -m engine.launch --ranks 8 --nodes 2 --meet node7:24321 --"
    assert slurm.lines() == ["scontrol show hostnames node[7-8]", f"srun {command}", command]


def test_the_head_starts_a_cluster_for_its_user_alone_and_the_sweep_on_it(slurm: _Slurm) -> None:
    process = slurm.start("head.sbatch", "--sweep-file", "s.yaml", end=75, wait=True)
    slurm.wait_for("calls.waits")
    assert (slurm.shared / "address").read_text() == "node1:37284\n"
    for name, mode in (("", 0o700), ("token", 0o600), ("address", 0o600)):
        assert stat.S_IMODE((slurm.shared / name).stat().st_mode) == mode
    process.send_signal(signal.SIGUSR1)
    assert slurm.end_of(process)[0] == 75
    lines = slurm.lines()
    assert any(line.startswith("ray start --head --block --port=37284") for line in lines)
    assert "token token 0123456789abcdef" in lines, "the token is no argument that others see"
    assert not any("0123456789abcdef" in line for line in lines if line.startswith("ray "))
    assert "python -m engine.sweep --sweep-file s.yaml --on ray:node1:37284" in lines
    assert lines[-2:] == ["python got USR1", "scontrol requeue 4321"]
    assert not (slurm.shared / "address").exists(), "no worker joins a cluster that has ended"
    assert not list(slurm.folder.glob("ray-*"))


def test_a_worker_joins_the_head_and_leaves_before_the_end_of_its_job(slurm: _Slurm) -> None:
    slurm.shared.mkdir()
    more = {"SLURM_CPUS_PER_TASK": "8", "SLURM_GPUS_ON_NODE": "1"}
    process = slurm.start("workers.sbatch", end=0, wait=True, **more)
    time.sleep(0.1)  # it waits for the head
    (slurm.shared / "token").write_text("feed\n")
    (slurm.shared / "address").write_text("node1:25284\n")
    slurm.wait_for("calls.ray")
    process.send_signal(signal.SIGUSR1)
    assert slurm.end_of(process)[0] == 0
    lines = slurm.lines()
    assert lines[0].startswith("ray start --block --address=node1:25284")
    assert "--num-cpus=8 --num-gpus=1" in lines[0]
    assert lines[1:] == ["token token feed", "scontrol requeue 4321"]


def test_a_worker_leaves_with_the_head(slurm: _Slurm) -> None:
    slurm.shared.mkdir()
    for name in ("token", "address"):
        (slurm.shared / name).write_text("node1:1\n")
    process = slurm.start("workers.sbatch", end=0, wait=True, PAUSE="0.05")
    slurm.wait_for("calls.ray")
    (slurm.shared / "address").unlink()
    assert slurm.end_of(process)[0] == 0
    assert not any("requeue" in line for line in slurm.lines())


def test_a_worker_without_a_head_gives_up(slurm: _Slurm) -> None:
    process = slurm.start("workers.sbatch", end=0, wait=False, PATIENCE="0")
    code, err = slurm.end_of(process)
    assert code == 2 and "no head has begun" in err
