"""What Triton needs of a machine to launch its first kernel: a C compiler and Python's headers.

It compiles its driver and a launcher for each kernel on the spot, even where torch compiles
nothing, and finds them in its cache from then on.
"""

# mypy: disable-error-code="import-untyped, import-not-found"

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from engine.errors import UserError

CPU = "train on the CPU with: --runtime.device cpu"


def prepare() -> None:
    """Make Triton ready to launch kernels; what this machine lacks for it is a `UserError`.

    It may lack a compiler as long as all that is needed lies in the cache.
    """
    from triton import knobs
    from triton.runtime import driver

    lacking = list(_lacking())
    if lacking and knobs.build.impl is None:  # else Triton would call the compiler

        def refuse(*source: object) -> NoReturn:
            raise UserError(
                f"this machine lacks {' and '.join(lacking)}, which Triton needs to launch "
                f"kernels on a GPU, also with --runtime.compile false; install that, or {CPU}"
            )

        knobs.build.impl = refuse
    try:
        driver.active  # noqa: B018  compiled or loaded here
    except (AssertionError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"Triton cannot use the GPU of this machine ({reason}); {CPU}") from error


def _lacking() -> Iterator[str]:
    """What is not where Triton looks for it."""
    own = os.environ.get("CC")
    if not any(map(shutil.which, (own,) if own else ("gcc", "clang"))):
        yield f"a C compiler (CC is {own})" if own else "a C compiler (gcc, clang, or named by CC)"
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")
    folders = [sysconfig.get_paths(scheme)["include"]]
    for variable in ("CPATH", "C_INCLUDE_PATH"):
        folders += filter(None, os.environ.get(variable, "").split(os.pathsep))
    if not any((Path(folder) / "Python.h").exists() for folder in folders):
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        yield f"the headers of Python {version} (Python.h; Debian: python{version}-dev)"
