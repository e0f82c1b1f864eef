"""Ctrl-C and SIGTERM that cannot get lost.

Python raises `KeyboardInterrupt` wherever the program happens to be. Inside a
destructor or the callback of a weak reference, which deep learning libraries
run all the time, the exception is reported and dropped, and training goes on.
So Ctrl-C is remembered, and raised where an exception gets through; and so is
SIGTERM, by which a cluster's scheduler ends a job.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
MESSAGE = "\nStopping after this batch; press Ctrl-C again to stop at once.\n"


class Interruption:
    """Remembers Ctrl-C (SIGINT) and SIGTERM within a `with` block.

    The first one is raised by the next `check`, a second one at once.

    Example:
        >>> with Interruption() as interruption:
        ...     interruption.check()
        >>> interruption.asked
        False
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        # Only the main thread may set handlers, and only it gets signals. A
        # program told to ignore one goes on ignoring it.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before = signal.signal(number, self._handle)
                    self._before[number] = before
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if the run is to end."""
        if self.asked:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        # A handler must not enter a buffered stream that is being written.
        os.write(2, MESSAGE.encode())
