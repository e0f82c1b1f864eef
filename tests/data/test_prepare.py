"""What happens when a set is out of reach, or a preparation dies."""

import contextlib
import dataclasses
import sys
import threading
import time

import pytest
import tensorflow_datasets as tfds

from tfdeep.data import DataUnavailableError, info, load, prepare, registry


def test_one_process_prepares_at_a_time(tmp_path):
    entered = threading.Event()

    def second():
        with prepare.only_one(tmp_path / "set" / "1.0.0"):
            entered.set()

    waiting = threading.Thread(target=second)
    with prepare.only_one(tmp_path / "set" / "1.0.0"):
        waiting.start()
        assert not entered.wait(0.3)
    assert entered.wait(10)
    waiting.join()


def test_who_waited_reads_what_another_prepared(monkeypatch, tmp_path):
    alone = prepare.only_one

    @contextlib.contextmanager
    def after_another(path):
        monkeypatch.setattr(prepare, "only_one", alone)
        load("digits", data_dir=str(tmp_path))
        with alone(path):
            yield

    monkeypatch.setattr(prepare, "only_one", after_another)
    x, _ = load("digits", as_numpy=True, data_dir=str(tmp_path))
    assert len(x) == 1257


@pytest.fixture
def nowhere(monkeypatch):
    """CIFAR-10, as if its server were down."""
    entry = dataclasses.replace(info("cifar10"), address="http://127.0.0.1:9/")
    monkeypatch.setitem(registry._BY_NAME, "cifar10", entry)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return entry


def test_a_set_out_of_reach_says_what_can_be_had(nowhere, tmp_path):
    start = time.monotonic()
    with pytest.raises(DataUnavailableError) as raised:
        load("cifar10", data_dir=str(tmp_path))
    assert time.monotonic() - start < prepare.PATIENCE + 5
    message = str(raised.value)
    assert "'cifar10' could not be prepared" in message
    assert "digits, mnist5k" in message
    assert isinstance(raised.value.__cause__, OSError)


def test_a_file_downloaded_before_needs_no_server(nowhere, tmp_path):
    with pytest.raises(OSError):
        prepare.check_reachable(nowhere, tmp_path)
    note = tmp_path / "cifar.tar.gz.INFO"
    note.write_text('{"urls": ["http://127.0.0.1:9/cifar.tar.gz"]}')
    prepare.check_reachable(nowhere, tmp_path)


def test_a_broken_download_is_unavailable_too(monkeypatch, tmp_path):
    class Checksum(Exception):
        pass

    def fails(self, **kwargs):
        raise Checksum("got 1, expected 2")

    made = tfds.builder_cls("cifar10")
    monkeypatch.setattr(made, "download_and_prepare", fails)
    monkeypatch.setattr(prepare, "check_reachable", lambda *args: None)
    with pytest.raises(
        DataUnavailableError, match="got 1, expected 2"
    ) as raised:
        load("cifar10", data_dir=str(tmp_path))
    assert isinstance(raised.value.__cause__, Checksum)


def test_imagenet_must_be_fetched_by_hand(tmp_path):
    with pytest.raises(DataUnavailableError, match="Manual directory"):
        load("imagenet2012", data_dir=str(tmp_path))


@pytest.mark.parametrize(
    "name, package", [("cifar10", "tensorflow_datasets"), ("digits", "sklearn")]
)
def test_a_missing_package_names_the_extra(
    monkeypatch, tmp_path, name, package
):
    for module in [m for m in sys.modules if m.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'tfdeep\[datasets\]'"):
        load(name, data_dir=str(tmp_path))
