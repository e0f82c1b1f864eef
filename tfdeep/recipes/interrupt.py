"""Ctrl-C that cannot get lost.

Python raises `KeyboardInterrupt` wherever the program happens to be. Inside a
destructor or the callback of a weak reference, which deep learning libraries
run all the time, the exception is reported and dropped, and training goes on.
So Ctrl-C is remembered, and raised where an exception gets through.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any

MESSAGE = "\nStopping after this batch; press Ctrl-C again to stop at once.\n"


class Interruption:
    """Remembers Ctrl-C (SIGINT) within a `with` block.

    The first one is raised by the next `check`, a second one at once.

    Example:
        >>> with Interruption() as interruption:
        ...     interruption.check()
        >>> interruption.asked
        False
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> "Interruption":
        # Only the main thread may set handlers, and only it gets Ctrl-C. A
        # program told to ignore SIGINT goes on ignoring it.
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if Ctrl-C was pressed."""
        if self.asked:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        # A handler must not enter a buffered stream that is being written.
        os.write(2, MESSAGE.encode())
