"""A trained network and inputs that drive it, which come with lyapkit: `examples.digits()`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_PLACES = (Path(__file__).parent / "example_data", Path(__file__).parent.parent / "data")  # installed; in a clone


class Example(NamedTuple):
    """Paths of a checkpoint and of inputs that drive it."""

    checkpoint: Path
    inputs: Path


def digits() -> Example:
    """Return an LSTM of 64 units that tells handwritten digits apart, and eight streams of digits it had not seen.

    It reads scikit-learn's 8×8 images row by row (test accuracy 97.5 %); how it was trained stands in the checkpoint's
    metadata. The inputs are (8 trajectories, 360 steps, 8 features), images of test digits one after the other.

    Returns
    -------
    Example
        `checkpoint`, a safetensors file, and `inputs`, a netCDF file.

    Raises
    ------
    FileNotFoundError
        If this installation lacks them.

    Examples
    --------
    >>> import lyapkit as lk
    >>> checkpoint, inputs = lk.examples.digits()
    >>> ds = lk.lyapunov_spectrum(checkpoint, lk.read_inputs(inputs)[:1, :60], n_exponents=2)
    >>> ds.sizes["exponent"]
    2
    """
    for place in _PLACES:
        example = Example(place / "digits_rows_lstm.safetensors", place / "digits_rows_inputs.nc")
        if all(path.is_file() for path in example):
            return example
    raise FileNotFoundError(f"the files of the example are neither in {_PLACES[0]} nor in {_PLACES[1]}")
