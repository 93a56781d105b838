"""Images read as sequences, row by row or pixel by pixel: scikit-learn's digits and MNIST."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DATA_VARIABLE = "LYAPKIT_DATA"
N_TEST_DIGITS = 360
_MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


@dataclass(frozen=True)
class Images:
    """Labelled images, split into train and test.

    Attributes
    ----------
    train_images, test_images : ndarray
        (sample, row, column), float64 from 0 (background) to 1.
    train_labels, test_labels : ndarray
        (sample,), int64.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load_digits() -> Images:
    """Return scikit-learn's bundled 8×8 digits, 1437 to train and 360 to test: a stratified split, always the same."""
    from sklearn.datasets import load_digits as bundled
    from sklearn.model_selection import train_test_split

    digits = bundled()
    images, labels = digits.images / 16.0, digits.target.astype(np.int64)
    split = train_test_split(images, labels, test_size=N_TEST_DIGITS, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = split
    return Images(train_images, train_labels, test_images, test_labels)


def load_mnist() -> Images:
    """Return MNIST, 60 000 images to train and 10 000 to test, 28×28.

    Read from the folder `mnist` of the folder that the environment variable LYAPKIT_DATA names, if it is set; else
    downloaded once, and checked, by pooch.

    Raises
    ------
    FileNotFoundError
        If LYAPKIT_DATA is set and the files are not there.
    """
    arrays = [_read_idx(_mnist_file(name)) for name in _MNIST_SHA256]
    return Images(arrays[0] / 255.0, arrays[1].astype(np.int64), arrays[2] / 255.0, arrays[3].astype(np.int64))


def as_sequences(images: np.ndarray, order: str = "rows") -> np.ndarray:
    """Return images (sample, row, column) as sequences (sample, time, feature).

    Parameters
    ----------
    images : ndarray
        What to read.
    order : "rows" or "pixels"
        One row per step, its pixels the features; or one pixel per step, in scan-line order.
    """
    if order == "rows":
        return images
    if order == "pixels":
        return images.reshape(len(images), -1, 1)
    raise ValueError(f"order must be 'rows' or 'pixels', got {order!r}")


def _mnist_file(name: str) -> Path:
    if folder := os.environ.get(DATA_VARIABLE):
        path = Path(folder) / "mnist" / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: {DATA_VARIABLE} is set to {folder}, which lacks it")
        return path
    import pooch

    url, known_hash = _MNIST_URL + name, f"sha256:{_MNIST_SHA256[name]}"
    return Path(pooch.retrieve(url, known_hash, fname=name, path=pooch.os_cache("lyapkit") / "mnist"))


def _read_idx(path: Path) -> np.ndarray:
    """Return the array in a gzip-compressed IDX file: big-endian header (type, dimensions, sizes), then bytes."""
    content = gzip.decompress(path.read_bytes())
    n_dims = content[3]
    shape = np.frombuffer(content, ">i4", count=n_dims, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_dims).reshape(shape)
