import gzip

import numpy as np
import pytest

from tfdeep.data import idx


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder without files, which the embedded sets do not look into."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def no_installed_files(monkeypatch, tmp_path):
    """Tests read the files that they make, not those of this machine."""
    monkeypatch.setattr(idx, "DEBIAN", tmp_path / "none")
    monkeypatch.delenv("TFDEEP_DATA_DIR", raising=False)


def idx_file(array) -> bytes:
    """An array of bytes as a gzipped IDX file."""
    head = bytes([0, 0, 8, array.ndim])
    head += np.array(array.shape, ">u4").tobytes()
    return gzip.compress(head + array.tobytes(), compresslevel=1)


@pytest.fixture(scope="session")
def idx_files():
    """Files as of Fashion-MNIST; each image begins with its number."""
    found = {}
    for prefix, count in idx.SPLITS.values():
        images = np.zeros((count, 28, 28), "uint8")
        images[:, 0, 0], images[:, 0, 1] = divmod(np.arange(count), 256)
        labels = (np.arange(count) % 10).astype("uint8")
        for name, array in zip(
            idx.names_of(prefix), (images, labels), strict=True
        ):
            found[name] = idx_file(array)
    return found


@pytest.fixture
def idx_folder(idx_files, tmp_path):
    """A folder with these files, to spoil."""
    folder = tmp_path / "fashion"
    folder.mkdir()
    for name, content in idx_files.items():
        (folder / name).write_bytes(content)
    return folder
