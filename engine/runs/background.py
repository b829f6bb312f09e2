"""Tasks run by a thread, one at a time, while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable


class BackgroundWriter:
    """Runs tasks in order; an error in one is raised by the next call.

    With `threaded` false a task runs at once, in the caller's thread.
    """

    def __init__(self, *, threaded: bool) -> None:
        self._threaded = threaded
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def do(self, task: Callable[[], None]) -> None:
        """Wait for the task before and start `task`."""
        self.wait()
        if not self._threaded:
            task()
            return
        self._thread = threading.Thread(target=self._run, args=(task,), name="writer")
        self._thread.start()

    def wait(self) -> None:
        """Return when no task is running."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # raised by the next call
            self._error = error
