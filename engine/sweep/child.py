"""One run of a sweep as a process: `python -m engine.train` that ends with its parent."""

from __future__ import annotations

if __name__ == "__main__":  # the imports below take seconds, and the parent may end
    from engine import signals

    signals.listen_early()

import sys

if __name__ == "__main__":
    signals.end_with(int(sys.argv[1]))
    from engine import train
    from engine.errors import run_command

    raise SystemExit(run_command(train.main, ["--config-file", sys.argv[2]]))
