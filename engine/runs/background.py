"""One task at a time, done by a thread while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable


class BackgroundWriter:
    """Tasks are done in the order in which they came; a fault of one is raised by the next call.

    Without a thread (`wanted` false) a task is done at once.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def do(self, task: Callable[[], None]) -> None:
        """Begin `task` when the one before is done."""
        self.wait()
        if not self._wanted:
            task()
            return
        self._thread = threading.Thread(target=self._run, args=(task,), name="writer")
        self._thread.start()

    def wait(self) -> None:
        """Return when nothing is left to do."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # it is the caller's to raise
            self._error = error
