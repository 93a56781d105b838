"""Files of data sets: read as they should be, and refused when they are not what they should be."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from lyapkit.tasks import files
from lyapkit.tasks.images import load_cifar10, load_mnist

NAME = "t10k-labels-idx1-ubyte.gz"


def _idx(array, magic=None):
    header = (0x800 + array.ndim if magic is None else magic).to_bytes(4, "big")
    return header + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


def test_idx():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(files.parse_idx(_idx(array), "some", 3), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_idx(np.zeros((2, 3), np.uint8)), r"magic number 2050, expected 2051"),
        (_idx(np.zeros((2, 3, 4), np.uint8))[:-1], r"39 bytes long, which does not fit the shape \(2, 3, 4\)"),
        (_idx(np.zeros((2, 3, 4), np.uint8)) + b"x", "41 bytes long"),
        (b"", "magic number 0"),
        (b"\0\0\x08\x03\0\0", "6 bytes long"),
        (_idx(np.zeros((2, 3, 4), np.uint8), magic=0x0D03), "magic number 3331"),
    ],
)
def test_damaged_idx_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        files.parse_idx(content, "some", 3)


def test_a_wrong_checksum_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv(files.DATA_VARIABLE, str(tmp_path))
    (tmp_path / "mnist").mkdir()
    for name in files.MNIST_SHA256:
        (tmp_path / "mnist" / name).write_bytes(gzip.compress(b"another file"))
    with pytest.raises(ValueError, match=r"SHA-256 is .*, expected .*'lyapkit fetch mnist' .* LYAPKIT_DATA"):
        load_mnist()


def test_missing_files_are_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv(files.DATA_VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"LYAPKIT_DATA is set to .*'lyapkit fetch mnist'"):
        load_mnist()
    with pytest.raises(FileNotFoundError, match=r"cifar10_gray.npz does not exist.*'lyapkit fetch cifar10'"):
        load_cifar10()


@pytest.mark.parametrize("content", ["nonsense", "other arrays", "pickled"])
def test_damaged_cifar10_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.setenv(files.DATA_VARIABLE, str(tmp_path))
    path = tmp_path / files.CIFAR10_FILE
    if content == "nonsense":
        path.write_bytes(b"nonsense")
    else:
        array = np.zeros((3, 32, 32), np.uint8) if content == "other arrays" else np.array([print], dtype=object)
        np.savez(path, **dict.fromkeys(files.CIFAR10_ARRAYS, array))
    with pytest.raises(ValueError, match=r"cifar10_gray.npz (is damaged|holds other arrays).*'lyapkit fetch cifar10'"):
        load_cifar10()


def test_binary_cifar10_becomes_gray(tmp_path):
    rng = np.random.default_rng(0)
    records = {name: rng.integers(0, 256, (3, 3073), dtype=np.uint8) for name in ("data_batch_1", "test_batch")}
    path = tmp_path / "cifar.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in records.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = content.nbytes
            archive.addfile(member, io.BytesIO(content.tobytes()))
    train, train_labels, test, _ = files.read_cifar10_archive(path)
    np.testing.assert_array_equal(train_labels, records["data_batch_1"][:, 0])
    red, green, blue = (records["test_batch"][1, 1 + 1024 * i + 32 * 5 + 7].astype(int) for i in range(3))
    assert test[1, 5, 7] == (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    assert train.shape == (3, 32, 32)
    assert files.gray(np.full((1, 3072), 200, np.uint8)).max() == 200  # gray stays gray


def test_downloads_are_checked(tmp_path, monkeypatch):
    """From a file: where there is no network, this is what a download looks like."""
    import pooch

    content = gzip.compress(_idx(np.arange(10, dtype=np.uint8)), mtime=0)
    source = tmp_path / "source" / NAME
    source.parent.mkdir()
    source.write_bytes(content)
    monkeypatch.delenv(files.DATA_VARIABLE, raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    monkeypatch.setattr(
        pooch.core, "choose_downloader", lambda url, progressbar=False: lambda url, output, _: _copy(source, output)
    )
    monkeypatch.setattr(files, "MNIST_SHA256", {NAME: hashlib.sha256(content).hexdigest()})
    (path,) = files.fetch("mnist")
    np.testing.assert_array_equal(files.read_idx(path, NAME), np.arange(10))
    path.unlink()
    source.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="does not match the known hash"):
        files.fetch("mnist")
    with pytest.raises(ValueError, match="unknown data set 'imagenet', expected mnist or cifar10"):
        files.fetch("imagenet")


def _copy(source, output):
    Path(output).write_bytes(source.read_bytes())


def test_what_is_not_installed_is_named():
    with pytest.raises(ImportError, match=r"nowhere is not installed, .* pip install 'lyapkit\[data\]'"):
        files.needed("nowhere")


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    import pooch

    def unreachable(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", unreachable)
    monkeypatch.delenv(files.DATA_VARIABLE, raising=False)
    with pytest.raises(OSError, match=r"could not be downloaded \(.*'lyapkit fetch cifar10'.*LYAPKIT_DATA"):
        load_cifar10()
