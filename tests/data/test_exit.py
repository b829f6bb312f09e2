"""Python ends at once, by any exit, while a loader or its threads are alive."""

from __future__ import annotations

import json

import pytest

from tests.support.data import Files
from tests.support.processes import python, succeed

# One process with the imports done; each child of it goes on to its real end, as a script would.
SCRIPT = """
import json, os, sys, tempfile, threading, time
import numpy as np
from engine.data import kernels
from engine.data.augment import cpu
from engine.data.loader import Loader
from engine.data.transform import Transform

def forever():
    images, ids = np.zeros((500, 32, 32, 3), np.uint8), np.arange(500)
    while True:
        cpu.augment(images, ids, ids, Transform(), 0, 0, np.empty_like(images), threads=3)

kernels.load()
results = {}
for mode, ending in json.loads(sys.argv[2]):
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        pid = os.fork()
        if not pid:
            os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
            break
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0), err.seek(0)
        results[f"{mode}, {ending}"] = code, out.read(), err.read()
else:
    print(json.dumps(results))
    sys.exit()
if mode == "amid batches":
    threading.Thread(target=forever, daemon=True).start()
    time.sleep(0.3)
else:
    loader = Loader(sys.argv[1], 4, mode=mode, threads=2)
    epoch = loader.epoch(0)
    next(epoch), next(epoch)
print("running", flush=True)
exec(ending)
"""
EXIT_CODES = {"pass": 0, "sys.exit(3)": 3, "raise KeyboardInterrupt": -2, "1 / 0": 1}


def _check(files: Files, *cases: tuple[str, str]) -> None:
    options = ("-W", "ignore::DeprecationWarning", "-c", SCRIPT)
    results = json.loads(succeed(*python(*options, files.train, json.dumps(cases))))
    for mode, ending in cases:
        code, stdout, stderr = results[f"{mode}, {ending}"]
        assert (code, stdout) == (EXIT_CODES[ending], "running\n"), stderr
        if ending == "pass":
            assert stderr == ""


def test_python_ends_with_a_live_stream_and_amid_batches(files: Files) -> None:
    _check(files, ("stream", "pass"), ("amid batches", "pass"))


@pytest.mark.slow
def test_python_ends_with_a_live_loader_by_any_exit(files: Files) -> None:
    _check(files, *((mode, ending) for mode in ("resident", "stream") for ending in EXIT_CODES))
