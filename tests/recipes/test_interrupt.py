"""Ctrl-C is kept where Python would drop it, and the old handler comes back."""

import os
import signal

import pytest

from tfdeep.recipes.interrupt import Interruption


@pytest.fixture(autouse=True)
def python_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press():
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_waits_for_the_check(capfd):
    with Interruption() as interruption:
        press()
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
    assert "press Ctrl-C again" in capfd.readouterr().err


def test_the_second_stops_at_once():
    with Interruption():
        press()
        with pytest.raises(KeyboardInterrupt):
            press()


def test_the_old_handler_comes_back():
    with Interruption():
        pass
    with pytest.raises(KeyboardInterrupt):
        press()


def test_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interruption() as interruption:
        press()
    assert not interruption.asked
