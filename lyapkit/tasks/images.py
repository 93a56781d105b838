"""Images read as sequences, row by row or pixel by pixel: scikit-learn's digits, MNIST and grayscale CIFAR-10."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from lyapkit.tasks import files
from lyapkit.tasks.arrays import ArrayTask

N_TEST_DIGITS = 360
PERMUTATION_SEED = 0  # of the one fixed order in which psMNIST reads pixels


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
    digits = files.needed("sklearn.datasets").load_digits()
    images, labels = digits.images / 16.0, digits.target.astype(np.int64)
    split = files.needed("sklearn.model_selection").train_test_split(
        images, labels, test_size=N_TEST_DIGITS, stratify=labels, random_state=0
    )
    train_images, test_images, train_labels, test_labels = split
    return Images(train_images, train_labels, test_images, test_labels)


def load_mnist() -> Images:
    """Return MNIST, 60 000 images to train and 10 000 to test, 28×28.

    Read from the folder `mnist` of the folder that the environment variable LYAPKIT_DATA names, if it is set; else
    downloaded once by pooch. Either way the files' SHA-256 are checked.

    Raises
    ------
    FileNotFoundError
        If LYAPKIT_DATA is set and the files are not there.
    ValueError
        If a file is damaged.
    """
    return _images(files.read_mnist())


def load_cifar10() -> Images:
    """Return CIFAR-10 in gray, 50 000 images to train and 10 000 to test, 32×32.

    Read from `cifar10_gray.npz` in the folder that LYAPKIT_DATA names, if it is set; else downloaded once by pooch, as
    the binary version of the data set, whose colours become gray by ITU-R 601-2 luma. The images are the same, but in
    another order: that of the data set's Python version in the first case, of its binary version in the second.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_mnist`.
    """
    return _images(files.read_cifar10())


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


def downsampled(images: np.ndarray, factor: int) -> np.ndarray:
    """Return images with every `factor` × `factor` pixels replaced by their mean.

    Raises
    ------
    ValueError
        If the factor does not divide the images' height and width.
    """
    rows, columns = images.shape[1:]
    if factor < 1 or rows % factor or columns % factor:
        raise ValueError(f"downsample must divide the size of the images, {rows}×{columns}, got {factor}")
    return images.reshape(len(images), rows // factor, factor, columns // factor, factor).mean((2, 4))


class ImageTask(ArrayTask):
    """Images to be recognised from their pixels, one per step, in scan-line order or in one fixed random order.

    Parameters
    ----------
    name : str
        Of the task.
    images : Images
        To learn from and to be tested on.
    permuted : bool
        Read pixels in a random order, the same for all images, always the same.
    downsample : int
        Replace squares of so many pixels a side by their mean. The name then says so: "smnist/2" has 196 steps.
    """

    def __init__(self, name: str, images: Images, *, permuted: bool = False, downsample: int = 1) -> None:
        splits = (downsampled(part, downsample) for part in (images.train_images, images.test_images))
        train, test = (as_sequences(part, "pixels").astype(np.float32) for part in splits)
        self.row_length = images.train_images.shape[2] // downsample
        self.permutation = pixel_order(train.shape[1]) if permuted else None
        if permuted:
            train, test = train[:, self.permutation], test[:, self.permutation]
        name = name if downsample == 1 else f"{name}/{downsample}"
        super().__init__(train, images.train_labels, test, images.test_labels, name=name)

    @property
    def origin(self) -> dict[str, str | int]:
        """The seed and the SHA-256 of the order of permuted pixels."""
        if self.permutation is None:
            return {}
        sha256 = hashlib.sha256(self.permutation.astype("<i8").tobytes()).hexdigest()
        return {"permutation_seed": PERMUTATION_SEED, "permutation_sha256": sha256}


def pixel_order(n_pixels: int) -> np.ndarray:
    """Return the fixed random order in which permuted tasks read so many pixels."""
    return np.random.default_rng(PERMUTATION_SEED).permutation(n_pixels)


def _images(arrays: tuple[np.ndarray, ...]) -> Images:
    train_images, train_labels, test_images, test_labels = arrays
    return Images(
        train_images / 255.0, train_labels.astype(np.int64), test_images / 255.0, test_labels.astype(np.int64)
    )
