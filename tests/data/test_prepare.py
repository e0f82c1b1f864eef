"""What happens when a set is out of reach, or a preparation dies."""

import dataclasses
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfdeep.data import (
    DataUnavailableError,
    info,
    load,
    local,
    prepare,
    registry,
)


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
    "name, package, extra",
    [
        ("cifar10", "tensorflow_datasets", "tfds"),
        ("digits", "sklearn", "datasets"),
    ],
)
def test_a_missing_package_names_the_extra(
    monkeypatch, tmp_path, name, package, extra
):
    local.digits.cache_clear()
    for module in [m for m in sys.modules if m.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install 'tfdeep\[{extra}\]'"):
        load(name, data_dir=str(tmp_path))


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataUnavailableError, match="'cifar10' could not be"):
        load("cifar10", data_dir=tmp_path / "file")


def test_a_full_disk(monkeypatch, tmp_path):
    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.mkdir", full)
    with pytest.raises(DataUnavailableError, match="No space left on device"):
        load("mnist", data_dir=tmp_path)


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """MNIST as TFDS prepares it, of the few images of a made-up download."""
    mnist = tfds.builder_cls("mnist")

    def generators(self, dl_manager):
        return {split: self.examples(split) for split in ("train", "test")}

    def examples(self, split):
        for index in range(20):
            image = np.full((28, 28, 1), index, "uint8")
            yield index, {"image": image, "label": index % 10}

    monkeypatch.setattr(mnist, "_split_generators", generators)
    monkeypatch.setattr(mnist, "examples", examples, raising=False)
    monkeypatch.setattr(prepare, "check_reachable", lambda *args: None)
    entry = dataclasses.replace(info("mnist"), held_out=10)
    monkeypatch.setitem(registry._BY_NAME, "mnist", entry)
    x, _ = load("mnist", "train", as_numpy=True, data_dir=tmp_path)
    assert len(x) == 10
    (folder,) = (tmp_path / "mnist").glob("[0-9]*")
    return folder


def cut_records(path):
    path.write_bytes(path.read_bytes()[:-200])


def damage_records(path):
    content = bytearray(path.read_bytes())
    content[200] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    "pattern, spoil",
    [
        ("*train*", cut_records),
        ("*train*", damage_records),
        ("*train*", lambda path: path.unlink()),
        ("dataset_info.json", lambda path: path.write_text("{")),
    ],
    ids=["cut", "damaged", "removed", "no info"],
)
def test_a_folder_that_was_spoiled(prepared, pattern, spoil):
    (path,) = prepared.glob(pattern)
    spoil(path)
    with pytest.raises(DataUnavailableError, match="'mnist' could not be"):
        load("mnist", "train", data_dir=prepared.parents[1])
