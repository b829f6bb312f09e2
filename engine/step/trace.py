"""A breakdown of a torch.profiler trace: the time of some steps by group.

On a GPU the time is that of the kernels, whose names decide their groups: in a replayed graph
nothing else is known of them. On a CPU it is the self time of each operation, without the
operations that it called.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

AUGMENTATION, OPTIMIZER = "augmentation", "optimizer"
CONVOLUTION, POINTWISE = "convolution", "normalisation and pointwise"
COPIES, OTHER = "copies", "other"
GROUPS = (AUGMENTATION, CONVOLUTION, POINTWISE, OPTIMIZER, COPIES, OTHER)

Event = dict[str, Any]

ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
ON_HOST = ("cpu_op", "user_annotation")
STEP = "ProfilerStep"

# The first match with a kernel's name decides. Matrix products (the classifier, and cuDNN's
# convolutions as products) count as convolutions; Inductor's `triton_` kernels are pointwise
# passes and reductions but for its templates (`tem`) and lists of tensors (`for`).
KERNELS = (
    (AUGMENTATION, re.compile(r"^_?augment")),
    (OPTIMIZER, re.compile(r"multi_tensor_apply|fused_?(sgd|adam)|^triton_for_", re.I)),
    (CONVOLUTION, re.compile(r"^triton_tem_")),
    (POINTWISE, re.compile(r"^triton_|batch_?norm|bn_(fw|bw)", re.I)),
    (
        CONVOLUTION,
        re.compile(r"conv|wgrad|dgrad|fprop|cudnn|xmma|cutlass|gemm|gemv|nvjet|splitk|im2col"
                   r"|nchwtonhwc|nhwctonchw", re.I),
    ),
    (POINTWISE, re.compile(r"at::native|elementwise|reduce_kernel|softmax")),
)  # fmt: skip
MATRIX_OPERATION = re.compile(r"conv|addmm|\bmm\b|bmm|linear|matmul|AddmmBackward|MmBackward")


@dataclass(frozen=True)
class Breakdown:
    """The seconds of some steps by group."""

    seconds: dict[str, float]  # of each group
    idle: float  # seconds in which none of them ran
    wall: float  # from the first operation to the end of the last
    longest: list[tuple[str, str, float, int]]  # kernels: name, group, seconds, calls

    def within(self, wall: float) -> Breakdown:
        """The same work in steps that took `wall` seconds; what it leaves of them is idle."""
        return replace(self, idle=max(0.0, wall - (self.wall - self.idle)), wall=wall)


def breakdown(events: Iterable[Event]) -> Breakdown:
    """The time per group in the steps of a chrome trace's `traceEvents`."""
    whole = [event for event in events if event.get("ph") == "X" and "dur" in event]
    host = [event for event in whole if event.get("cat") in ON_HOST]
    device = [event for event in whole if event.get("cat") in ON_DEVICE]
    calls = _nested(host)
    return _of_device(device, calls) if device else _of_host(calls)


def group_of_kernel(name: str) -> str:
    """The group of a GPU kernel."""
    if name.startswith(("Memcpy", "Memset")):
        return COPIES
    return next((group for group, known in KERNELS if known.search(name)), OTHER)


def idle_seconds(spans: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Of spans (begin, end): the gaps between the first and the last, and the whole length."""
    idle = 0.0
    begin = reached = math.nan
    for first, last in sorted(spans):
        if math.isnan(reached):
            begin = reached = first
        idle += max(0.0, first - reached)
        reached = max(reached, last)
    return (0.0, 0.0) if math.isnan(reached) else (idle, reached - begin)


@dataclass
class _Call:
    """An operation or annotation on the host."""

    event: Event
    within: str | None  # the group that an annotation around it decides
    inner: float = 0.0  # microseconds of the operations that it called

    @property
    def name(self) -> str:
        return str(self.event["name"])

    @property
    def own(self) -> float:
        return max(0.0, float(self.event["dur"]) - self.inner)

    @property
    def group(self) -> str | None:
        if self.name.startswith(STEP):
            return None  # Python between the operations
        if self.within is not None:
            return self.within
        return CONVOLUTION if MATRIX_OPERATION.search(self.name) else POINTWISE


def _nested(events: list[Event]) -> list[_Call]:
    """The calls of the thread that makes the steps, each with its enclosing group."""
    threads = {event["tid"] for event in events if str(event["name"]).startswith(STEP)}
    calls: list[_Call] = []
    open_calls: list[_Call] = []
    mine = [event for event in events if event["tid"] in threads or not threads]
    for event in sorted(mine, key=lambda each: (each["ts"], -each["dur"])):
        while open_calls and _end(open_calls[-1].event) <= event["ts"]:
            open_calls.pop()
        around = open_calls[-1] if open_calls else None
        if around is not None:
            around.inner += event["dur"]
        inherited = around.within if around is not None else None
        call = _Call(event, _annotated(str(event["name"])) or inherited)
        open_calls.append(call)
        calls.append(call)
    return calls


def _annotated(name: str) -> str | None:
    """The group of all operations within an annotation of this name, if it has one."""
    if name == AUGMENTATION:
        return AUGMENTATION
    return OPTIMIZER if name.startswith(("Optimizer.", OPTIMIZER)) else None


def _id(event: Event) -> int | None:
    """The number shared by a kernel and the operation that launched it."""
    number: int | None = event.get("args", {}).get("External id")
    return number


def _end(event: Event) -> float:
    return float(event["ts"] + event["dur"])


def _of_host(calls: list[_Call]) -> Breakdown:
    timed = [(call.name, call.group, call.own) for call in calls if call.group is not None]
    _, wall = idle_seconds((call.event["ts"], _end(call.event)) for call in calls)
    busy = sum(own for *_, own in timed)
    return _breakdown(timed, max(0.0, wall - busy), wall)


def _of_device(kernels: list[Event], calls: list[_Call]) -> Breakdown:
    annotated = {_id(call.event): call.within for call in calls if _id(call.event) is not None}
    timed = []
    for event in kernels:
        name = str(event["name"])
        group = annotated.get(_id(event)) or group_of_kernel(name)
        timed.append((name, group, float(event["dur"])))
    return _breakdown(timed, *idle_seconds((event["ts"], _end(event)) for event in kernels))


def _breakdown(timed: list[tuple[str, str, float]], idle: float, wall: float) -> Breakdown:
    """Sums over (name, group, microseconds), in seconds and the longest first."""
    seconds = dict.fromkeys(GROUPS, 0.0)
    by_name: dict[tuple[str, str], list[float]] = defaultdict(list)
    for name, group, duration in timed:
        seconds[group] += duration / 1e6
        by_name[name, group].append(duration / 1e6)
    longest = [(name, group, sum(each), len(each)) for (name, group), each in by_name.items()]
    return Breakdown(seconds, idle / 1e6, wall / 1e6, sorted(longest, key=lambda row: -row[2]))
