"""Standard output that cannot end a run.

A terminal may have no sign for "±", the reader of a pipe may leave, as `head`
does, and a disk may be full. None of it is a reason to lose what was trained.
"""

import contextlib
import errno
import os
import sys
from typing import Any

PLAIN = {"±": "+-", "…": "...", "—": "-", "–": "-"}


def shown(text: str, encoding: str) -> str:
    """Return `text` in the signs that an encoding has.

    Example:
        >>> shown("0.1 ± 0.02", "ascii"), shown("0.1 ± 0.02", "utf-8")
        ('0.1 +- 0.02', '0.1 ± 0.02')
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for sign, plain in PLAIN.items():
            text = text.replace(sign, plain)
        return text.encode(encoding, "replace").decode(encoding)
    return text


class Output:
    """A stream of text that goes on where another one cannot.

    What it is given after the first failure is dropped.

    Args:
        stream: the stream to write to.

    Attributes:
        failure: the `OSError` that ended the output, or `None`. That a reader
            closed a pipe is none.

    Example:
        >>> import io
        >>> below = io.StringIO()
        >>> output = Output(below)
        >>> output.write("a line")
        6
        >>> below.getvalue(), output.failure
        ('a line', None)
    """

    def __init__(self, stream: Any):
        self.stream = stream
        self.failure: OSError | None = None
        self._open = True

    @property
    def encoding(self) -> str:
        """The encoding of the stream."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write what can be shown of a text."""
        if self._open:
            self._try(self.stream.write, shown(text, self.encoding))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        if self._open:
            self._try(self.stream.flush)

    def _try(self, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except OSError as error:
            self._open = False
            if error.errno not in (errno.EPIPE, errno.EINVAL, errno.EIO):
                self.failure = error
                print(
                    f"tfdeep: The output cannot be written ({error.strerror}).",
                    file=sys.stderr,
                )
            self._discard()

    def _discard(self) -> None:
        """Let the stream empty itself nowhere, or Python would fail to."""
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.stream.fileno())
            os.close(null)
            self.stream.flush()
