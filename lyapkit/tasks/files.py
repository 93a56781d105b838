"""The files of MNIST and CIFAR-10: found in a folder or downloaded, checked, and read without unpickling anything."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import os
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np

DATA_VARIABLE = "LYAPKIT_DATA"
FETCH_COMMAND = "lyapkit fetch"
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # what its home page states
CIFAR10_FILE = "cifar10_gray.npz"
CIFAR10_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_IDX_UNSIGNED_BYTE = 8


def read_mnist() -> tuple[np.ndarray, ...]:
    """Return train images (60000, 28, 28), train labels, test images (10000, 28, 28) and test labels, uint8."""
    return tuple(read_idx(_mnist_file(name), name) for name in MNIST_SHA256)


def read_cifar10() -> tuple[np.ndarray, ...]:
    """Return train images (50000, 32, 32), train labels, test images (10000, 32, 32) and test labels, uint8."""
    if folder := os.environ.get(DATA_VARIABLE):
        return _read_npz(_in_folder(Path(folder) / CIFAR10_FILE, "cifar10"))
    return read_cifar10_archive(_fetched(CIFAR10_URL, f"md5:{CIFAR10_MD5}", "cifar10"))


def fetch(name: str) -> list[Path]:
    """Download the files of a data set, unless they are in pooch's cache already, and return their paths.

    Parameters
    ----------
    name : "mnist" or "cifar10"
        Which.

    Raises
    ------
    ValueError
        If the name is another one, or a downloaded file does not have the checksum it should have.
    OSError
        If the download fails.
    """
    if name == "mnist":
        return [_fetched(MNIST_URL + file, f"sha256:{digest}", name) for file, digest in MNIST_SHA256.items()]
    if name == "cifar10":
        return [_fetched(CIFAR10_URL, f"md5:{CIFAR10_MD5}", name)]
    raise ValueError(f"unknown data set {name!r}, expected mnist or cifar10")


def read_idx(path: Path, name: str) -> np.ndarray:
    """Return the array in a gzip-compressed IDX file of unsigned bytes: big-endian magic number, sizes, values.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        Its name in MNIST_SHA256, for its checksum.

    Raises
    ------
    ValueError
        If the checksum, the magic number or the size is wrong, or the file cannot be decompressed.
    """
    compressed = path.read_bytes()
    if (digest := hashlib.sha256(compressed).hexdigest()) != MNIST_SHA256[name]:
        raise ValueError(
            f"{path} is not MNIST's file or is damaged: its SHA-256 is {digest[:12]}…, expected "
            f"{MNIST_SHA256[name][:12]}…; {_advice('mnist')}"
        )
    return parse_idx(gzip.decompress(compressed), str(path), n_dims=int(name.partition("-idx")[2][0]))


def parse_idx(content: bytes, name: str, n_dims: int) -> np.ndarray:
    """Return the array in the content of an IDX file, checking its magic number and its size."""
    magic = int.from_bytes(content[:4], "big")
    if magic != (expected := (_IDX_UNSIGNED_BYTE << 8) + n_dims):
        raise ValueError(f"{name} starts with the magic number {magic}, expected {expected}: IDX, {n_dims} dimensions")
    header = 4 + 4 * n_dims
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4))
    if len(content) != header + int(np.prod(shape)):
        raise ValueError(f"{name} is {len(content)} bytes long, which does not fit the shape {shape} in its header")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_cifar10_archive(path: Path) -> tuple[np.ndarray, ...]:
    """Return what the binary version of CIFAR-10 holds, in gray: records of a label and 3 × 1024 colour values."""
    parts: dict[str, list[np.ndarray]] = {"data": [], "test": []}
    with tarfile.open(path) as archive:
        members = sorted((m for m in archive.getmembers() if m.name.endswith(".bin")), key=lambda m: m.name)
        for member in members:
            stored = archive.extractfile(member)
            assert stored is not None  # a file, by its ending
            content = np.frombuffer(stored.read(), np.uint8)
            parts[Path(member.name).name.partition("_")[0]].append(content.reshape(-1, 1 + 3 * 1024))
    train, test = (np.concatenate(parts[part]) for part in ("data", "test"))
    return gray(train[:, 1:]), train[:, 0], gray(test[:, 1:]), test[:, 0]


def gray(records: np.ndarray) -> np.ndarray:
    """Return colour images (sample, 3 · 1024), red values first, as gray ones (sample, 32, 32), ITU-R 601-2 luma."""
    red, green, blue = records.reshape(-1, 3, 32, 32).astype(np.uint32).transpose(1, 0, 2, 3)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


def _read_npz(path: Path) -> tuple[np.ndarray, ...]:
    try:
        with path.open("rb") as file, np.load(io.BytesIO(file.read()), allow_pickle=False) as archive:
            arrays = tuple(archive[name] for name in CIFAR10_ARRAYS)
    except Exception as error:  # damaged archives raise whatever their bytes suggest
        raise ValueError(f"{path} is damaged: {error}; {_advice('cifar10')}") from error
    shapes = [(50_000, 32, 32), (50_000,), (10_000, 32, 32), (10_000,)]
    if [array.shape for array in arrays] != shapes or any(array.dtype != np.uint8 for array in arrays):
        raise ValueError(f"{path} holds other arrays than CIFAR-10's in gray; {_advice('cifar10')}")
    return arrays


def _mnist_file(name: str) -> Path:
    if folder := os.environ.get(DATA_VARIABLE):
        return _in_folder(Path(folder) / "mnist" / name, "mnist")
    return _fetched(MNIST_URL + name, f"sha256:{MNIST_SHA256[name]}", "mnist")


def _in_folder(path: Path, name: str) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: {DATA_VARIABLE} is set to {os.environ[DATA_VARIABLE]}, which lacks it; "
            f"{_advice(name)}"
        )
    return path


def _fetched(url: str, known_hash: str, name: str) -> Path:
    pooch = needed("pooch")
    file = url.rpartition("/")[2]
    try:
        return Path(pooch.retrieve(url, known_hash, fname=file, path=pooch.os_cache("lyapkit") / name))
    except OSError as error:
        raise OSError(f"{url} could not be downloaded ({type(error).__name__}); {_advice(name)}") from error


def needed(name: str) -> ModuleType:
    """Return a module of the extra `data`.

    Raises
    ------
    ImportError
        If it is not installed, with how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is not installed, which data sets need: pip install 'lyapkit[data]'") from error


def _advice(name: str) -> str:
    return (
        f"'{FETCH_COMMAND} {name}' downloads {name} where there is a network and {DATA_VARIABLE} is not set; or set "
        f"{DATA_VARIABLE} to a folder that holds {'mnist/' if name == 'mnist' else CIFAR10_FILE}"
    )
