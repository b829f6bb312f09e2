"""One rank of `engine.launch`: `python -m engine.train` that reports its end in a file.

torchrun starts all ranks again when one ends with an error. That is right for a rank that died,
not for a mistake of the user, a failed run or a stop by a signal: such a rank ends with 0, and
its exit code is in the file that `engine.launch` reads.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take seconds
    from engine import signals

    signals.listen_early()

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from engine import signals, train
from engine.errors import run_command


def main(argv: Sequence[str]) -> int:
    """Arguments: the folder for the file, the process that starts the ranks, flags of training."""
    folder, parent, *flags = argv
    signals.end_with(int(parent))
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        flags = [flag for flag in flags if flag != "--fresh"]  # it is no longer
    code = run_command(train.main, flags)
    (Path(folder) / os.environ["RANK"]).write_text(str(code))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
