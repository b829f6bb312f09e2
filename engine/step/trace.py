"""What a trace of torch.profiler says: where the time of some steps went.

On a GPU the kernels are what took the time, and their names tell the groups: in a replayed graph
nothing else is known of them. On a CPU it is what each operation took itself, without those that
it called.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

AUGMENTATION, OPTIMIZER = "augmentation", "optimizer"
CONVOLUTION, POINTWISE = "convolution", "normalisation and pointwise"
COPIES, OTHER = "copies", "other"
GROUPS = (AUGMENTATION, CONVOLUTION, POINTWISE, OPTIMIZER, COPIES, OTHER)

Event = dict[str, Any]

ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
ON_HOST = ("cpu_op", "user_annotation")
STEP = "ProfilerStep"

# The first that matches a kernel's name decides. Matrix products (the classifier, and what cuDNN
# makes of a convolution) are among the convolutions; Inductor's `triton_` kernels are pointwise
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

# Operations that only make or describe memory.
NO_TRAFFIC = re.compile(
    r"^aten::(empty|view|_?reshape|resize|as_strided|expand|t$|transpose|permute|detach|slice|"
    r"select|squeeze|unsqueeze|flatten|alias|narrow|split|resolve_|set_|is_|to$|lift|result_type)"
)
BYTES = {"double": 8, "long": 8, "long int": 8, "float": 4, "int": 4, "c10::Half": 2,
         "c10::BFloat16": 2, "bool": 1, "unsigned char": 1, "signed char": 1}  # fmt: skip
ONE_TENSOR = 4  # bytes an element of a list of tensors, whose types a trace leaves out


@dataclass(frozen=True)
class Breakdown:
    """The seconds of some steps by group, and what else their trace tells."""

    seconds: dict[str, float]  # of each group
    idle: float  # seconds in which nothing of them ran
    wall: float  # from the first operation to the end of the last
    bytes_read: int  # operands of the operations whose shapes the trace holds, and copies
    covered: float  # share of the busy time that these bytes belong to
    longest: list[tuple[str, str, float, int]] = field(default_factory=list)  # by kernel

    @property
    def busy(self) -> float:
        """Seconds in which something ran."""
        return self.wall - self.idle


def breakdown(events: Iterable[Event]) -> Breakdown:
    """The groups' times in the steps that a chrome trace's `traceEvents` hold."""
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
    """Of spans (begin, end): what lies between the first and the last without any, and the all."""
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
    """An operation or annotation of the host, with what it called."""

    event: Event
    within: str | None  # the group that an annotation around it decides
    inner: float = 0.0  # microseconds of what it called

    @property
    def name(self) -> str:
        return str(self.event["name"])

    @property
    def own(self) -> float:
        return max(0.0, float(self.event["dur"]) - self.inner)

    @property
    def operands(self) -> int | None:
        """Their bytes; None where the trace does not hold their shapes."""
        facts = self.event.get("args", {})
        dims, types = facts.get("Input Dims"), facts.get("Input type", [])
        if not dims or NO_TRAFFIC.match(self.name):
            return None
        return sum(_operand(d, t) for d, t in zip(dims, types, strict=False))

    @property
    def group(self) -> str | None:
        if self.name.startswith(STEP):
            return None  # Python between the operations
        if self.within is not None:
            return self.within
        return CONVOLUTION if MATRIX_OPERATION.search(self.name) else POINTWISE


def _nested(events: list[Event]) -> list[_Call]:
    """The calls of the thread that makes the steps, each knowing what is around and in it."""
    threads = {event["tid"] for event in events if str(event["name"]).startswith(STEP)}
    found: list[_Call] = []
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
        found.append(call)
    return found


def _annotated(name: str) -> str | None:
    """The group of everything below an annotation of this name, where it decides one."""
    if name == AUGMENTATION:
        return AUGMENTATION
    return OPTIMIZER if name.startswith(("Optimizer.", OPTIMIZER)) else None


def _operand(dims: Sequence[Any], kind: str) -> int:
    if dims and isinstance(dims[0], list):
        return sum(ONE_TENSOR * int(math.prod(each)) for each in dims)
    return BYTES.get(kind, 0) * int(math.prod(dims))


def _id(event: Event) -> int | None:
    """What a kernel and the operation that launched it have in common."""
    number: int | None = event.get("args", {}).get("External id")
    return number


def _end(event: Event) -> float:
    return float(event["ts"] + event["dur"])


def _of_host(calls: list[_Call]) -> Breakdown:
    spent: dict[str, float] = defaultdict(float)
    names: dict[tuple[str, str], list[float]] = defaultdict(list)
    counted, covered = 0, 0.0
    _, wall = idle_seconds((call.event["ts"], _end(call.event)) for call in calls)
    for call in calls:
        group = call.group
        if group is None:
            continue
        spent[group] += call.own
        names[call.name, group].append(call.own)
        operands = call.operands
        if operands is not None and call.own > call.inner:  # else what it called moves them
            counted += operands
            covered += call.own
    busy = sum(spent.values())
    return _breakdown(spent, max(0.0, wall - busy), wall, counted, covered, names)


def _of_device(kernels: list[Event], calls: list[_Call]) -> Breakdown:
    spent: dict[str, float] = defaultdict(float)
    names: dict[tuple[str, str], list[float]] = defaultdict(list)
    launched = {_id(call.event): call for call in calls if _id(call.event) is not None}
    counted, covered = 0, 0.0
    seen: set[int] = set()  # an operation may launch several kernels
    idle, wall = idle_seconds((event["ts"], _end(event)) for event in kernels)
    for event in kernels:
        launcher = launched.get(_id(event))
        group = group_of_kernel(str(event["name"]))
        if launcher is not None and launcher.within is not None:
            group = launcher.within
        spent[group] += event["dur"]
        names[str(event["name"]), group].append(event["dur"])
        copied = event.get("args", {}).get("bytes")
        operands = copied if copied is not None or launcher is None else launcher.operands
        if operands is not None:
            covered += event["dur"]
            counted += 0 if id(launcher) in seen else int(operands)
            if copied is None:
                seen.add(id(launcher))
    return _breakdown(spent, idle, wall, counted, covered, names)


def _breakdown(
    spent: dict[str, float],
    idle: float,
    wall: float,
    counted: int,
    covered: float,
    names: dict[tuple[str, str], list[float]],
) -> Breakdown:
    """From microseconds to seconds, the longest first."""
    busy = sum(spent.values())
    longest = sorted(names.items(), key=lambda item: -sum(item[1]))
    return Breakdown(
        seconds={group: spent.get(group, 0.0) / 1e6 for group in GROUPS},
        idle=idle / 1e6,
        wall=wall / 1e6,
        bytes_read=counted,
        covered=covered / busy if busy else 0.0,
        longest=[(name, group, sum(t) / 1e6, len(t)) for (name, group), t in longest],
    )
