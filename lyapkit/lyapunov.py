"""`lyapunov_spectrum`: the Lyapunov exponents of a system along trajectories, with standard errors."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.provenance import provenance, sha256
from lyapkit.statistics import batch_means_standard_error
from lyapkit.systems import System
from lyapkit.tangent import DEFAULT_ACCURACY, VariationalTerm, propagate

INPUT_DIMS = ("trajectory", "time", "feature")
ORTHONORMAL = 1e-6  # how far a given frame's inner products may be from those of an orthonormal one
Array = np.ndarray | Tensor | xr.DataArray


def lyapunov_spectrum(
    system: System,
    inputs: Array | None = None,
    *,
    initial_state: Array | None = None,
    n_steps: int | None = None,
    n_transient: int = 0,
    n_exponents: int | None = None,
    n_trajectories: int | None = None,
    reorthonormalize: int | Literal["adaptive"] = "adaptive",
    accuracy: float | None = None,
    initial_frame: Literal["identity", "random"] | Array = "identity",
    on_divergence: Literal["warn", "raise"] = "warn",
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
) -> xr.Dataset:
    """Return the Lyapunov exponents of a system along one or many trajectories.

    The exponents are the mean logarithmic growth rates of a frame of perturbations that moves with the trajectory
    and is kept orthonormal (Benettin et al. 1980; Dubinin & Effenberger 2024, Eq. 4 and Appendix A).

    Parameters
    ----------
    system : System
        A `Map`, a `Flow`, a member of `classical`, or what `load_checkpoint` or `from_module` returned.
    inputs : array, tensor or DataArray, optional
        (trajectory, time, feature): the sequence that drives each trajectory. None for an autonomous system.
    initial_state : array, optional
        (N,) or (trajectory, N). Default: the system's own, zeros for recurrent networks, random points on the
        attractor for `classical` systems.
    n_steps : int, optional
        Steps that count, after the transient. Default: all inputs; required for an autonomous system.
    n_transient : int
        Leading steps that move state and frame but are not counted. With inputs they are the first of those given.
    n_exponents : int, optional
        k, how many of the largest exponents to compute. Default: all N.
    n_trajectories : int, optional
        How many trajectories to run where neither inputs nor initial states say. Default 1.
    reorthonormalize : "adaptive" or int
        How long intervals are: a fixed number of steps between QR factorisations; or about 32 of them for the run,
        inside which the frame is kept well conditioned by factorisations as rare as `accuracy` allows.
    accuracy : float, optional
        Rounding error tolerated in the log-growth of one factorisation. Default 1e-9 in float64, 1e-4 in float32.
    initial_frame : "identity", "random" or array (k, N)
        The first perturbations; an array's rows must be orthonormal. The identity is the paper's choice, and makes the
        exponents of a diagonal map exact at every finite time. But its order is that of the state variables: where the
        fastest directions come last, or are unreachable from the first ones, as in stacked layers, a random frame
        meets them sooner, and is less sensitive to rounding. With fewer than N exponents "identity" means random, too.
    on_divergence : "warn" or "raise"
        Whether a trajectory that leaves the finite numbers gives NaN and a `DivergenceWarning`, or a
        `DivergenceError`. The message names trajectory and step.
    dtype : "float64" or "float32", optional
        Arithmetic of the computation, to which weights and inputs are converted. Default float64.
    device : str or torch.device, optional
        Where to compute. Default: where `inputs` are if they are a tensor on a GPU, else where the system is.
    seed : int
        Seeds random initial states and random frames.
    progress : bool
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        `lyapunov_exponent` and `standard_error` (trajectory, exponent), in nats per step (flows: per unit of time),
        exponents descending; `log_growth` (trajectory, interval, exponent), in nats, from which they derive;
        `condition` (trajectory, interval); `divergence_step` (trajectory), NaN for trajectories that did not
        diverge. The attributes tell how it was made, how many re-orthonormalisations it took and the worst
        condition they met.

    Raises
    ------
    ValueError
        If arguments do not fit the system or each other.
    DivergenceError
        With ``on_divergence="raise"``.
    """
    if not isinstance(system, System):
        raise TypeError(
            f"system is a {type(system).__name__}, expected a lyapkit System: wrap a function in Map or Flow, "
            "a PyTorch module in from_module, or read a file with load_checkpoint"
        )
    dtype = _dtype(dtype)
    if device is None:
        device = inputs.device if isinstance(inputs, Tensor) and inputs.device.type != "cpu" else system.device
    device = available_device(device)
    input_values = checked_inputs(inputs, system)
    n_steps = _checked_steps(input_values, n_steps, n_transient)
    k = system.state_size if n_exponents is None else n_exponents
    if not 1 <= k <= system.state_size:
        raise ValueError(f"n_exponents must be between 1 and the state size {system.state_size}, got {k}")
    if reorthonormalize != "adaptive" and (not isinstance(reorthonormalize, int) or reorthonormalize < 1):
        raise ValueError(
            f"reorthonormalize must be 'adaptive' or a number of steps, at least 1, got {reorthonormalize!r}"
        )
    if accuracy is not None and not torch.finfo(dtype).eps < accuracy < 1:
        raise ValueError(f"accuracy must be between machine epsilon {torch.finfo(dtype).eps:.1e} and 1, got {accuracy}")
    if isinstance(initial_frame, str) and initial_frame not in ("identity", "random"):
        raise ValueError(f"initial_frame must be 'identity', 'random' or an array, got {initial_frame!r}")
    if on_divergence not in ("warn", "raise"):
        raise ValueError(f"on_divergence must be 'warn' or 'raise', got {on_divergence!r}")

    generator = torch.Generator().manual_seed(seed)
    state = _start(system, input_values, initial_state, n_trajectories, generator).to(device, dtype)
    frame = _first_frame(system.state_size, k, initial_frame, generator).to(device, dtype)
    term = propagate(
        system.converted(dtype, device),
        state,
        frame.expand(len(state), -1, -1).contiguous(),
        None if input_values is None else torch.from_numpy(input_values).to(device, dtype),
        n_steps=n_steps,
        n_transient=n_transient,
        reorthonormalize=reorthonormalize,
        accuracy=accuracy,
        on_divergence=on_divergence,
        progress=progress,
    )
    attributes = system.description | provenance(
        n_steps=n_steps,
        n_transient=n_transient,
        n_exponents=k,
        reorthonormalize=reorthonormalize,
        accuracy=accuracy or DEFAULT_ACCURACY[dtype],
        initial_frame=_name_of_frame(initial_frame, k, system.state_size),
        dtype=str(dtype).removeprefix("torch."),
        device=device.type,
        seed=seed,
    )
    if input_values is not None:
        attributes["inputs_sha256"] = sha256(input_values)
    return _dataset(term, system, attributes)


def _dataset(term: VariationalTerm, system: System, attributes: dict[str, str]) -> xr.Dataset:
    """Return the dataset of a variational term: exponents in descending order, and what they derive from."""
    log_growth, steps = term.log_growth.numpy(), term.steps.numpy()
    duration = steps * system.time_step
    order = np.argsort(-log_growth.sum(axis=1), axis=-1, kind="stable")  # NaN last
    log_growth = np.take_along_axis(log_growth, order[:, None], axis=-1)
    n_trajectories, n_intervals, k = log_growth.shape
    divergence_step = np.full(n_trajectories, np.nan)
    divergence_step[list(term.diverged)] = list(term.diverged.values())
    time_unit = system.time_unit
    per_time = f"nats per {time_unit}"
    condition = term.condition.numpy()

    return xr.Dataset(
        {
            "lyapunov_exponent": (
                ("trajectory", "exponent"),
                log_growth.sum(axis=1) / duration.sum(),
                {"units": per_time, "long_name": "Lyapunov exponent"},
            ),
            "standard_error": (
                ("trajectory", "exponent"),
                batch_means_standard_error(log_growth, duration),
                {"units": per_time, "long_name": "standard error of the Lyapunov exponent, from batch means"},
            ),
            "direction": (
                ("trajectory", "exponent"),
                order,
                {"units": "1", "long_name": "which vector of the first frame the exponent belongs to"},
            ),
            "log_growth": (
                ("trajectory", "interval", "exponent"),
                log_growth,
                {"units": "nats", "long_name": "log|diag R|, growth between re-orthonormalisations"},
            ),
            "condition": (
                ("trajectory", "interval"),
                condition,
                {"units": "1", "long_name": "loss of orthogonality at the end of the interval"},
            ),
            "divergence_step": (
                ("trajectory",),
                divergence_step,
                {"units": "step", "long_name": "step at which the trajectory diverged"},
            ),
        },
        coords={
            "trajectory": ("trajectory", np.arange(n_trajectories), {"units": "1", "long_name": "trajectory"}),
            "exponent": ("exponent", np.arange(1, k + 1), {"units": "1", "long_name": "rank of the exponent"}),
            "interval": ("interval", np.arange(n_intervals), {"units": "1", "long_name": "interval"}),
            "duration": ("interval", duration, {"units": time_unit, "long_name": "duration of the interval"}),
            "end_time": ("interval", duration.cumsum(), {"units": time_unit, "long_name": "end of the interval"}),
        },
        attrs=attributes
        | {
            "state_size": system.state_size,
            "time_step": float(system.time_step),
            "n_reorthonormalizations": term.n_reorthonormalizations,
            "n_reconditionings": term.n_reconditionings,
            "worst_condition": float(np.nanmax(condition, initial=1.0)),
            "references": "Dubinin & Effenberger 2024, Eq. 4 and Appendix A; Benettin et al. 1980",
        },
    )


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    name = "float64" if dtype is None else str(dtype).removeprefix("torch.")
    if name not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    return getattr(torch, name)


def available_device(device: str | torch.device) -> torch.device:
    """Return a device, or say that it is not there."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {str(device)!r} is not available here: {str(error).splitlines()[0]}") from error


def checked_inputs(inputs: Array | None, system: System) -> np.ndarray | None:
    """Return inputs as a float64 array (trajectory, time, feature), or say what is wrong with them."""
    if system.input_size is None:
        if inputs is not None:
            raise ValueError(f"{system} is autonomous and takes no inputs")
        return None
    if inputs is None:
        raise ValueError(f"{system} needs inputs (trajectory, time, {system.input_size})")
    if isinstance(inputs, xr.DataArray):
        if set(inputs.dims) != set(INPUT_DIMS):
            raise ValueError(f"inputs have dimensions {inputs.dims}, expected {INPUT_DIMS}")
        inputs = inputs.transpose(*INPUT_DIMS).values
    values = inputs.detach().cpu().numpy() if isinstance(inputs, Tensor) else np.asarray(inputs)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"inputs hold {values.dtype}, expected numbers")
    if values.ndim != 3:
        raise ValueError(
            f"inputs have shape {values.shape}, expected (trajectory, time, feature)"
            + ("; for one trajectory use inputs[None]" if values.ndim == 2 else "")
        )
    if values.shape[2] != system.input_size:
        raise ValueError(f"inputs have {values.shape[2]} features, {system} takes {system.input_size}")
    if 0 in values.shape:
        raise ValueError(f"inputs are empty: shape {values.shape}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        trajectory, time, feature = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"inputs hold {values[trajectory, time, feature]} at trajectory {trajectory}, time {time}, "
            f"feature {feature}: remove or fill in missing values"
        )
    return values


def _checked_steps(inputs: np.ndarray | None, n_steps: int | None, n_transient: int) -> int:
    """Return the number of counted steps."""
    if n_transient < 0:
        raise ValueError(f"n_transient must not be negative, got {n_transient}")
    if inputs is None:
        if n_steps is None:
            raise ValueError("n_steps is needed: an autonomous system has no inputs that would tell how long to run")
    else:
        available = inputs.shape[1] - n_transient
        if available < 1:
            raise ValueError(f"n_transient={n_transient} leaves no step to count: the inputs have {inputs.shape[1]}")
        n_steps = available if n_steps is None else n_steps
        if n_steps > available:
            raise ValueError(
                f"n_steps={n_steps} after n_transient={n_transient} need {n_steps + n_transient} inputs, "
                f"only {inputs.shape[1]} are given"
            )
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")
    return n_steps


def _start(
    system: System,
    inputs: np.ndarray | None,
    initial_state: Array | None,
    n_trajectories: int | None,
    generator: torch.Generator,
) -> Tensor:
    """Return the initial states (B, N), B agreed upon by everything that says how many trajectories there are."""
    given = None if initial_state is None else torch.as_tensor(np.asarray(initial_state, dtype=np.float64))
    counts = {
        "inputs": None if inputs is None else len(inputs),
        "initial_state": len(given) if given is not None and given.ndim == 2 else None,
        "n_trajectories": n_trajectories,
    }
    counts = {name: count for name, count in counts.items() if count is not None}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(f"the number of trajectories is not clear: {said}")
    batch = next(iter(counts.values()), 1)
    if batch < 1:
        raise ValueError(f"the number of trajectories must be at least 1, got {batch}")
    state = system.initial_state(batch, generator) if given is None else given
    if state.ndim not in (1, 2) or state.shape[-1] != system.state_size:
        raise ValueError(
            f"initial_state has shape {tuple(state.shape)}, expected ({system.state_size},) or "
            f"({batch}, {system.state_size}), the state size of {system}"
        )
    if not bool(state.isfinite().all()):
        raise ValueError("initial_state holds values that are not finite")
    return state.expand(batch, system.state_size).clone()


def _first_frame(n: int, k: int, initial_frame: str | Array, generator: torch.Generator) -> Tensor:
    """Return k orthonormal rows: those given, the identity, or random ones; only those meet the fastest if k < n."""
    if not isinstance(initial_frame, str):
        frame = torch.as_tensor(initial_frame).detach().cpu().double()
        if frame.shape != (k, n):
            raise ValueError(
                f"initial_frame has shape {tuple(frame.shape)}, expected ({k}, {n}): exponents, state size"
            )
        if not bool(((frame @ frame.mT - torch.eye(k, dtype=frame.dtype)).abs() < ORTHONORMAL).all()):
            raise ValueError("the rows of initial_frame are not orthonormal: orthonormalise them, by numpy.linalg.qr")
        return frame
    if _name_of_frame(initial_frame, k, n) == "identity":
        return torch.eye(n, dtype=torch.float64)
    return torch.linalg.qr(torch.randn(n, k, generator=generator, dtype=torch.float64))[0].mT


def _name_of_frame(initial_frame: str | Array, k: int, n: int) -> str:
    """Return "identity", "random" or "given"."""
    if not isinstance(initial_frame, str):
        return "given"
    return initial_frame if k == n else "random"
