"""`by_length`: spectra of trajectories that differ in length, each over its own steps alone.

Trajectories of one length are run together, others in runs of their own, so that no step behind a trajectory's end is
computed and none enters its exponents, their errors or their intervals. The datasets are joined with NaN at the ends.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
import xarray as xr
from torch import Tensor

from lyapkit.labels import attributes, index, variable
from lyapkit.provenance import sha256

_SUMS = ("n_reorthonormalizations", "n_reconditionings")
_PER_RUN = ("duration", "end_time")


def by_length(measured: partial[xr.Dataset], inputs: Sequence[np.ndarray], state: Tensor) -> xr.Dataset:
    """Return the spectrum of trajectories with inputs (T_i, feature), each as if it were computed alone.

    Parameters
    ----------
    measured : callable
        (inputs (trajectory, time, feature), start states (trajectory, N), number of counted steps) to a spectrum; it
        takes `n_transient` steps in front.
    inputs : sequence of ndarray
        One for each trajectory.
    state : Tensor
        (trajectory, N), where they start.

    Returns
    -------
    xarray.Dataset
        As `lyapunov_spectrum` returns; `n_steps` is (trajectory), `duration` and `end_time` (trajectory, interval).
    """
    n_transient = measured.keywords["n_transient"]
    lengths = np.array([len(sequence) for sequence in inputs])
    parts: list[xr.Dataset] = []
    owners: list[np.ndarray] = []
    for length in np.unique(lengths)[::-1]:
        members = np.flatnonzero(lengths == length)
        together = np.stack([inputs[int(member)] for member in members])
        parts.append(_numbered(measured, members, together, state[members], int(length) - n_transient))
        owners.extend(members)
    joined = _joined(parts).isel(trajectory=np.argsort(owners))
    n_steps = lengths - n_transient
    parameters = json.loads(joined.attrs["parameters"]) | {"n_steps": n_steps.tolist()}
    digest = sha256(np.concatenate([sequence.ravel() for sequence in inputs]))
    joined.attrs |= {"parameters": json.dumps(parameters, sort_keys=True), "inputs_sha256": digest}
    return joined.assign(variable("n_steps", ("trajectory",), n_steps)).assign_coords(index("trajectory", len(inputs)))


def _numbered(measured: partial[xr.Dataset], members: np.ndarray, *given: object) -> xr.Dataset:
    """Return the spectrum of some trajectories; what warnings and errors call them is explained in front."""
    named = ", ".join(map(str, members[:8])) + (", …" if len(members) > 8 else "")
    front = f"of the trajectories {named}, called 0, 1, … here: " if len(members) > 1 else f"of trajectory {named}: "
    with warnings.catch_warnings(record=True) as caught:
        try:
            ds = measured(*given)
        except ValueError as error:
            error.add_note(front.removesuffix(": "))
            raise
    for warning in caught:
        is_own = warning.category.__module__.startswith("lyapkit")
        warnings.warn(f"{front if is_own else ''}{warning.message}", warning.category, stacklevel=4)
    return ds


def _joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return spectra one after the other, their intervals filled up with NaN."""
    n_intervals = max(part.sizes["interval"] for part in parts)
    padded = []
    for part in parts:
        unit = part["duration"].attrs["units"]
        each = {
            name: (("trajectory", "interval"), np.tile(part[name].values, (part.sizes["trajectory"], 1)))
            for name in _PER_RUN
        }
        part = part.drop_vars(_PER_RUN).assign_coords(each)
        padded.append(part.reindex(interval=np.arange(n_intervals)))
        for name in _PER_RUN:
            padded[-1][name].attrs = attributes(name, unit)
    joined = xr.concat(padded, "trajectory", combine_attrs="override")
    joined["interval"].attrs = parts[0]["interval"].attrs
    joined.attrs |= {name: sum(part.attrs[name] for part in parts) for name in _SUMS}
    joined.attrs["worst_condition"] = max(part.attrs["worst_condition"] for part in parts)
    return joined
