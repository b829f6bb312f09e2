"""One run on several processes, one per GPU: `python -m engine.launch --ranks 8 -- FLAGS`.

FLAGS are those of `python -m engine.train`. All processes (ranks) share each batch;
train.batch_size is that of all together. When one dies, all start again from the newest
checkpoint. On several machines start it on each, with the same --nodes and --meet.

It starts torchrun in this process, and covers faults of torch 2.11:

- The store that ranks meet in survives a restart with the addresses of the dead, and the new ones
  wait for them (torch issue 135712): TORCH_DISABLE_SHARE_RDZV_TCP_STORE gives each start its own.
- It ends with 1 whatever its ranks ended with, and restarts ranks that should not be restarted:
  those of `engine.rank` end with 0 and leave their exit codes in files.
- SIGUSR1, which Slurm sends before the end of a job, is forwarded only if that is asked for.
- A second SIGHUP, which a closed terminal often sends, would end it before its ranks have saved:
  the first becomes a SIGTERM, and more are ignored.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take seconds
    from engine import signals

    signals.quit_early()

import argparse
import os
import re
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from engine import show, signals, train
from engine.config import checks, options
from engine.config.schema import Config
from engine.errors import FAILED, UserError, run_command
from engine.parser import Parser

PROGRAM = "python -m engine.launch"
FORWARDED = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGQUIT")
STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def main(argv: Sequence[str]) -> int:
    """The command."""
    at = list(argv).index("--") if "--" in argv else len(argv)
    args, flags = _arguments(argv[:at]), argv[at + 1 :]
    _check(args, flags)
    with tempfile.TemporaryDirectory(prefix="engine-ranks-") as folder:
        _run(args, folder, flags)
        codes = [int(path.read_text()) for path in Path(folder).iterdir()]
    return max(codes, default=FAILED)  # all end alike; none: they died too often


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    parser.add_argument("--ranks", type=int, required=True, help="processes on this machine")
    parser.add_argument(
        "--nodes",
        default="1",
        metavar="N or A:B",
        help="machines; A:B: begin with A of them, go on with up to B, which may come and go",
    )
    parser.add_argument(
        "--meet", default="", metavar="HOST:PORT", help="where several machines find each other"
    )
    parser.add_argument(
        "--restarts", type=int, default=3, help="how often ranks that died are started again"
    )
    return parser.parse_args(argv)


def _check(args: argparse.Namespace, flags: Sequence[str]) -> None:
    """Refuse here, once, what each rank would refuse."""
    wrong = []
    if args.ranks < 1:
        wrong.append(f"--ranks {args.ranks}: expected 1 or more")
    if args.restarts < 0:
        wrong.append(f"--restarts {args.restarts}: expected 0 or more")
    nodes = re.fullmatch(r"([1-9]\d{0,4})(?::([1-9]\d{0,4}))?", args.nodes)
    if nodes is None or int(nodes[2] or nodes[1]) < int(nodes[1]):
        wrong.append(f"--nodes {args.nodes}: expected a number, or two that rise, as 1:4")
    elif nodes[0] != "1" and not re.fullmatch(r"[^\s:]+:\d+", args.meet):
        wrong.append(f"--meet {args.meet!r}: {args.nodes} machines need one HOST:PORT to meet at")
    if wrong:
        raise UserError(*wrong)
    assert nodes is not None
    parsed = options.read(
        Config,
        flags,
        program=f"{PROGRAM} ... --",
        summary=train.SUMMARY,
        flags=show.FLAGS,
        checks=() if show.lists(flags) else (*checks.TRAINING, train.NETWORK),
    )
    if show.requested(parsed.flags) or "profile" in parsed.flags:
        raise UserError("this shows or profiles a network: give it to python -m engine.train")
    ranks, size = args.ranks * int(nodes[1]), parsed.config.train.batch_size
    if size % ranks:
        raise UserError(
            f"train.batch_size: {size} images per step cannot be shared equally by {ranks} ranks"
        )


def _run(args: argparse.Namespace, folder: str, flags: Sequence[str]) -> None:
    """Start the ranks and wait for their end; what became of them is in `folder`."""
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not signals.ignores_hangup():
        signal.signal(signal.SIGHUP, _hang_up)
    os.environ[STORE] = "1"
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # no trace where a peer is gone
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // args.ranks)))
    one = args.nodes == "1"
    command = [
        f"--nproc-per-node={args.ranks}",
        f"--nnodes={args.nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={'127.0.0.1:0' if one else args.meet}",
        "--rdzv-id=ffcv-engine",
        f"--max-restarts={args.restarts}",
        "--monitor-interval=0.1",
        f"--signals-to-handle={','.join(FORWARDED)}",
        *(["--local-addr=127.0.0.1"] if one else []),
        "-m",
        "engine.rank",
        folder,
        str(os.getpid()),
        *flags,
    ]
    try:
        torchrun.run(torchrun.parse_args(command))  # type: ignore[no-untyped-call]
    except SignalException as stop:
        print(f"all ranks were stopped by {signal.Signals(stop.sigval).name}", file=sys.stderr)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        print(
            f"error: rank {rank} ended with {failure.exitcode} after {args.restarts} restarts",
            file=sys.stderr,
        )


def _hang_up(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
