"""Output that is never the end of a run."""

import io
import os

import pytest

from tfdeep_command.output import Output


def test_signs_that_a_terminal_lacks():
    raw = io.BytesIO()
    output = Output(io.TextIOWrapper(raw, encoding="ascii"))
    print("0.1 ± 0.02 → 1", file=output, flush=True)
    assert raw.getvalue() == b"0.1 +- 0.02 ? 1\n"
    assert output.failure is None


def test_a_reader_that_left_is_no_failure(capfd):
    read, write = os.pipe()
    os.close(read)
    output = Output(os.fdopen(write, "w"))
    for _ in range(2):
        print("a line", file=output, flush=True)
    assert output.failure is None
    output.stream.close()  # It has nothing left to write.
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_said_once(capfd):
    output = Output(open("/dev/full", "w"))
    for _ in range(2):
        print("a line", file=output, flush=True)
    assert "No space left" in str(output.failure)
    assert capfd.readouterr().err.count("cannot be written") == 1
    output.stream.close()
