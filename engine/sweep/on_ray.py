"""Runs on the machines of a Ray cluster: the only file that imports Ray (2.60).

Ray carries jobs to agents, and starts agents where machines are; which run is whose stays in the
sweep's own queue. Covered here: Ray replaces the handlers of signals; its workers kill children
that should save a checkpoint; an agent that cannot be reached may still be training, which the
locks of the runs' folders show; without a token everyone who reaches the cluster runs code as you.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when Ray is imported
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

import engine
from engine.config.schema import Config
from engine.errors import UserError
from engine.step.device import cache_folder
from engine.step.rates import Rates
from engine.sweep.agent import Agent
from engine.sweep.arguments import AUTO
from engine.sweep.executor import Job, JobEnd, Outcome
from engine.sweep.machine import rates_here
from engine.sweep.packing import jobs_here
from engine.sweep.shared_files import (
    DataCopy,
    Probe,
    copy_of,
    locked_probe,
    path_here,
    problem_with,
    with_absolute_paths,
)

MOST_JOBS = 256  # of one agent
RETRY_SECONDS = 2.0  # before an agent that could not be reached is asked again
ROOT = Path(engine.__file__).resolve().parents[1]


@dataclass(frozen=True)
class Greeting:
    """What an agent says of itself when it is ready, or why it cannot be used."""

    host: str
    slots: int
    problem: str = ""
    rates: Mapping[str, Rates] = field(default_factory=dict)  # of its machine, by precision


class Place:
    """An agent as Ray runs it: an actor, with one GPU or the cores of a machine."""

    def __init__(self, jobs: int, cores: int) -> None:
        self._jobs, self._cores = jobs, cores
        self._agent: Agent | None = None
        self._rates: dict[str, Rates] = {}

    def hello(
        self,
        version: str,
        probe: Probe,
        data: Sequence[tuple[DataCopy, list[Any]]],
        sample: Config,
        precisions: Sequence[str],
    ) -> Greeting:
        """Check the machine and make it ready; each file's content is in a list, by reference.

        Its rates in these `precisions` are measured, unless `runtime.cache` has them.
        """
        context = ray.get_runtime_context()
        gpus = ray.get_gpu_ids()
        host = f"{os.uname().nodename}, node {context.get_node_id()[:8]}"
        host += f", GPU {','.join(map(str, gpus))}" * bool(gpus)
        if version != engine.__version__:
            found = f"ffcv-engine {engine.__version__}, and {version} at the driver"
            return Greeting(host, 0, f"{found}; install the same version")
        problem = problem_with(probe)
        if problem:
            return Greeting(host, 0, problem)
        if self._agent is None:
            paths = {
                copy.path: path_here(copy, lambda ref=ref: ray.get(ref))  # type: ignore[misc]
                for copy, (ref,) in data
            }
            cache = cache_folder(sample)
            jobs = jobs_here(sample, self._cores, cache) if self._jobs == AUTO else self._jobs
            self._agent = Agent(min(jobs, MOST_JOBS), self._cores, paths)
            threads = max(1, self._cores // self._agent.slots)
            self._rates = rates_here(sample.runtime, precisions, threads, cache)
        return Greeting(host, self._agent.slots, rates=self._rates)

    def run(self, job: Job) -> JobEnd:
        """Run a job to its end."""
        assert self._agent is not None
        return self._agent.run(job)

    def stop(self) -> None:
        """Have all jobs save a checkpoint and end."""
        if self._agent is not None:
            self._agent.stop()


@dataclass
class _Actor:
    handle: Any
    greeting: Greeting | None = None  # None: not ready
    host: str = ""  # where it was last
    running: set[int] = field(default_factory=set)  # tickets
    stopped: bool = False

    @property
    def room(self) -> int:
        return 0 if self.greeting is None else self.greeting.slots - len(self.running)


class OnRay:
    """An executor; while entered, connected to the cluster at `address`, empty: one made here.

    `rates` are filled with those of the first machine that is ready, for each of the `precisions`.
    """

    def __init__(
        self,
        address: str,
        *,
        agents: int,
        jobs: int,
        folder: Path,
        data: Mapping[str, str],
        sample: Config,
        precisions: Sequence[str],
        rates: dict[str, Rates],
        note: Callable[[str], None],
    ) -> None:
        self._address, self._count, self._jobs = address, agents, jobs
        self._folder, self._data, self._note = folder, data, note
        self._sample = with_absolute_paths(Job("", sample, folder)).config
        self._precisions, self._rates = list(precisions), rates
        self._actors: list[_Actor] = []
        self._events: queue.SimpleQueue[tuple[_Actor, int | None, Any]] = queue.SimpleQueue()
        self._retries: list[tuple[float, _Actor]] = []
        self._tickets = itertools.count()
        self._by_ticket: dict[int, _Actor] = {}
        self._problems: set[str] = set()
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> OnRay:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_connected(self._address))
            self._probe = stack.enter_context(locked_probe(self._folder))
            self._files = [
                (copy_of(path, digest), [ray.put(Path(path).read_bytes())])
                for path, digest in self._data.items()
            ]
            self._start()
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()

    @property
    def slots(self) -> int:
        """Of the agents that are ready."""
        return sum(actor.greeting.slots for actor in self._actors if actor.greeting)

    @property
    def room(self) -> int:
        """Of the agents that are ready; nothing waits at an agent."""
        return sum(max(0, actor.room) for actor in self._actors)

    def submit(self, job: Job) -> int:
        """Send it to the agent with the most room."""
        actor = max(self._actors, key=lambda actor: actor.room)
        ticket = next(self._tickets)
        actor.running.add(ticket)
        self._by_ticket[ticket] = actor
        self._watch(actor, ticket, actor.handle.run.remote(with_absolute_paths(job)))
        return ticket

    def ended(self, seconds: float) -> list[tuple[int, JobEnd]]:
        """What agents have sent; jobs of an agent that cannot be reached are lost."""
        ends: list[tuple[int, JobEnd]] = []
        until = time.monotonic() + seconds
        while not ends and (left := until - time.monotonic()) >= 0:
            self._greet_again()
            with contextlib.suppress(queue.Empty):
                events = [self._events.get(timeout=min(left, 0.5) or None)]
                while not self._events.empty():
                    events.append(self._events.get())
                for actor, ticket, result in events:
                    if ticket is None:
                        self._greeted(actor, result)
                    else:
                        ends.append((ticket, self._end(actor, ticket, result)))
        return ends

    def cancel(self, ticket: int) -> None:
        """Its agent stops with all its jobs: a sweep is stopped as a whole."""
        actor = self._by_ticket.get(ticket)
        if actor is not None and not actor.stopped:
            actor.stopped = True
            actor.handle.stop.remote()

    def _start(self) -> None:
        """An agent per GPU, else per machine; Ray starts it again elsewhere when its node dies."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = sum(int(node.get("GPU", 0)) for node in nodes)
        cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
        if not gpus and not cores and not self._count:
            raise UserError(
                f"--on ray:{self._address}: no machine with cores or GPUs is there yet; say with "
                "--agents how many agents to wait for"
            )
        share = min(cores, default=1)
        if gpus:
            share = max(1, sum(cores) // gpus)
        environment = {
            # Ray kills what a worker has started; ours end by themselves, after a checkpoint.
            "RAY_kill_child_processes_on_worker_exit": "false",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }
        kind = ray.remote(Place).options(
            num_gpus=1 if gpus else 0, num_cpus=1 if gpus else share, max_restarts=-1,
            max_task_retries=0, max_concurrency=MOST_JOBS + 2, scheduling_strategy="SPREAD",
            runtime_env={"env_vars": environment},
        )  # fmt: skip
        for _ in range(self._count or gpus or len(cores)):
            self._actors.append(_Actor(kind.remote(self._jobs, share)))
            self._greet(self._actors[-1])

    def _greet(self, actor: _Actor) -> None:
        said = (engine.__version__, self._probe, self._files, self._sample, self._precisions)
        self._watch(actor, None, actor.handle.hello.remote(*said))

    def _watch(self, actor: _Actor, ticket: int | None, reference: Any) -> None:
        def arrived(future: Any) -> None:
            error = future.exception()
            self._events.put((actor, ticket, future.result() if error is None else error))

        reference.future().add_done_callback(arrived)

    def _greeted(self, actor: _Actor, result: Any) -> None:
        if isinstance(result, Greeting) and not result.problem:
            actor.greeting, actor.host = result, result.host
            if not self._rates:
                self._rates.update(result.rates)
            return
        if isinstance(result, RayActorError):  # not there yet, or not any more
            self._retries.append((time.monotonic() + RETRY_SECONDS, actor))
            return
        problem = f"{result.host}: {result.problem}" if isinstance(result, Greeting) else result
        if str(problem) not in self._problems:
            self._problems.add(str(problem))
            self._note(f"an agent is not used: {problem}")
        self._actors.remove(actor)
        ray.kill(actor.handle)
        if not self._actors:
            raise UserError("--on: none of the agents can be used:", *sorted(self._problems))

    def _greet_again(self) -> None:
        now = time.monotonic()
        due = [actor for at, actor in self._retries if at <= now]
        self._retries = [(at, actor) for at, actor in self._retries if at > now]
        for actor in due:
            self._greet(actor)

    def _end(self, actor: _Actor, ticket: int, result: Any) -> JobEnd:
        actor.running.discard(ticket)
        del self._by_ticket[ticket]
        if isinstance(result, JobEnd):
            gpu = result.host.partition(", ")[2]
            return replace(result, host=actor.host + f", {gpu}" * (bool(gpu) and "GPU" in gpu))
        if isinstance(result, RayTaskError):  # a fault of ours, not of the cluster
            return JobEnd(Outcome.FAILED, str(result), actor.host)
        if actor.greeting is not None:
            actor.greeting = None
            self._retries.append((time.monotonic() + RETRY_SECONDS, actor))
        return JobEnd(Outcome.LOST, type(result).__name__, actor.host)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """In the cluster; the handlers of signals stay ours."""
    if address.startswith("ray://"):
        raise UserError(f"--on ray:{address}: expected HOST:PORT of the cluster's head, or auto")
    if os.environ["RAY_AUTH_MODE"] != "token":
        raise UserError(
            f"RAY_AUTH_MODE is {os.environ['RAY_AUTH_MODE']}: everyone who reaches the cluster "
            "could run code as you; expected token"
        )
    more: dict[str, Any] = {"address": address}
    if not address:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        cores = len(os.sched_getaffinity(0))
        more = {"address": "local", "num_cpus": cores, "include_dashboard": False}
    # Ray's own switch, for debuggers: else pages of a dead node's log land among our messages.
    ray._private.worker._worker_logs_enabled = False
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(**more, log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError, RayError) as error:  # such as too long a TMPDIR
        text = str(error).strip().splitlines()
        raise UserError(
            f"--on ray:{address}: {text[0] if text else type(error).__name__}"
        ) from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()
