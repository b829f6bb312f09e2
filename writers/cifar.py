"""Write `.beton` files: `python writers/cifar.py`; `--help` lists all settings.

Without arguments: CIFAR-10, from data/ or downloaded. `--data.source synthetic` needs neither files
nor network. Existing files with the right content are left alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: Python looks for modules beside it, not in the project
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
if __name__ == "__main__":  # for Ctrl-C during the imports below
    from engine import signals

    signals.quit_early()

from engine.config.options import Flag, read
from engine.data import sidecar
from engine.errors import OK, leave, run_command
from writers import inputs, outputs
from writers.console import Console, CtrlC
from writers.outputs import Target
from writers.settings import Config, source_and_names_fit

FLAGS = (
    Flag("force", "replace existing files that have other content"),
    Flag("quiet", "print only errors and the paths of the files"),
)


def main(argv: Sequence[str]) -> int:
    """Write the files that the settings select, and print their paths to stdout."""
    start = time.monotonic()
    parsed = read(
        Config,
        argv,
        program="python writers/cifar.py",
        summary="Write images and labels as FFCV's .beton files, each with a sidecar.",
        flags=FLAGS,
        checks=(source_and_names_fit,),
    )
    data, console = parsed.config.data, Console(quiet="quiet" in parsed.flags)
    with CtrlC() as ctrl_c:
        chosen = inputs.choose(data, console)
        targets = chosen.targets(Path(data.folder))
        missing = [target for target in targets if not outputs.is_right(target)]
        if missing:
            outputs.write(missing, chosen.load(), "force" in parsed.flags, console, ctrl_c)
    for target in targets:
        console.say(_summary(target, new=target in missing))
        print(target.path)
    console.say(f"done in {time.monotonic() - start:.1f} s")
    return OK


def _summary(target: Target, new: bool) -> str:
    known = sidecar.read(target.path)
    if known is None:  # removed by another process since
        return f"{target.path}: written"
    return (
        f"{target.path}: {'written' if new else 'already there and right'}, "
        f"{known.samples:,} samples, {known.bytes:,} bytes, sha256 {known.sha256[:12]}"
    )


if __name__ == "__main__":
    leave(run_command(main))
