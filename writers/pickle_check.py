"""What a pickle would build, looked at before it is built: no small file fills memory or time."""

from __future__ import annotations

import pickletools

MOST_STEPS = 2_000_000  # of a pickle; CIFAR's have a fifth of it at most
KEEP = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")  # the last value, under a number
FETCH = ("GET", "BINGET", "LONG_BINGET")
CONTAINERS = (
    "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST", "DICT", "EMPTY_LIST", "EMPTY_DICT", "APPENDS",
    "SETITEMS",
)  # fmt: skip


def problem(content: bytes) -> str:
    """Why a pickle is not to be loaded, empty if it may be; raises what a damaged one raises.

    A value that is kept under a number of two thousand millions takes as much memory; a tuple that
    holds another one twice, and so on thirty times, takes hours to compare or to print.
    """
    containers: set[int] = set()
    before, kept = "", 0
    for steps, (step, argument, _) in enumerate(pickletools.genops(content)):
        name = step.name
        if steps > MOST_STEPS:
            return f"a pickle of more than {MOST_STEPS:,} steps"
        if name in KEEP:
            number = kept if argument is None else int(argument)
            if number > steps:
                return f"a pickle that keeps a value as number {number:,}"
            kept += 1
            if before in CONTAINERS:
                containers.add(number)
        elif name == "DUP" or (name in FETCH and int(argument or 0) in containers):
            return "a pickle that uses a list, a tuple or a dictionary twice"
        before = name
    return ""
