"""`lyapunov_spectrum`: the Lyapunov exponents of a system along trajectories, with standard errors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from lyapkit.arguments import (
    Array,
    ReliabilityWarning,
    check_on_divergence,
    checked_dtype,
    checked_inputs,
    checked_lengths,
    checked_n_exponents,
    checked_steps,
    is_constant,
    warn_of_doubtful_inputs,
)
from lyapkit.compiled import propagate_compiled
from lyapkit.forecast import LongRunWarning, announcement, require_memory
from lyapkit.labels import Variable, index, variable
from lyapkit.models.given import as_system
from lyapkit.provenance import provenance, sha256
from lyapkit.scalars import plain, whole_numbers
from lyapkit.sequence_lengths import by_length
from lyapkit.starts import as_tensor, chosen_device, in_real_parts, start_states
from lyapkit.statistics import time_average_standard_error
from lyapkit.systems import System
from lyapkit.tangent import DEFAULT_ACCURACY, N_INTERVALS, VariationalTerm, propagate

ORTHONORMAL = 1e-6  # how far a given frame's inner products may be from those of an orthonormal one


def lyapunov_spectrum(
    system: System | nn.Module | str | Path,
    inputs: Array | Sequence[Array] | None = None,
    *,
    lengths: Sequence[int] | Array | None = None,
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
    check: bool = True,
    compile: bool = True,
    keep_state: bool = False,
    progress: bool | None = None,
    **reading: object,
) -> xr.Dataset:
    """Return the Lyapunov exponents of a system along one or many trajectories.

    The exponents are the mean logarithmic growth rates of a frame of perturbations that moves with the trajectory
    and is kept orthonormal (Benettin et al. 1980; Dubinin & Effenberger 2024, Eq. 4 and Appendix A).

    Parameters
    ----------
    system : System, nn.Module, str or Path
        A `Map`, a `Flow`, a member of `classical`, what `load_system` or `from_module` returned, or what these take: a
        PyTorch module or the path of a checkpoint.
    inputs : array, tensor or DataArray, or a list of them, optional
        (trajectory, time, feature): the sequence that drives each trajectory; (trajectory, time) for tokens. A list
        holds one (time, feature) for each trajectory, of any lengths. With `n_steps`, (feature,) is a constant input.
        None for an autonomous system, or, with `n_steps`, for input that is zero at every step.
    lengths : sequence of int, optional
        (trajectory,): how many leading steps of each padded sequence are its own, the transient included. Every
        trajectory is measured along these alone, as if it were computed by itself.
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
    initial_frame : "identity", "random" or array (k, N) or (trajectory, k, N)
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
    check : bool
        Compute the beginning of one trajectory a second time, plainly, and compare (`SelfCheckError`). Costs below 5 %.
    compile : bool
        Run maps and flows of few variables, in float64, as machine code made of their functions, up to a hundred times
        faster: where these are arithmetic, and for more than 1000 steps. The attribute `computed_by` says whether it
        was done, or why not.
    keep_state : bool
        Keep what `extend` goes on from, `final_state` (trajectory, state), `final_frame` (trajectory, vector, state).
        A run that is interrupted (Ctrl-C) then ends with its interval and returns what was done, with a warning.
    progress : bool, optional
        Show a progress bar. Default: after two seconds, in terminals and notebooks.
    **reading
        Of the path of a checkpoint: `prefix`, `embedding`, `nonlinearity`, `key` and `ignore`, as for `load_system`.

    Returns
    -------
    xarray.Dataset
        `lyapunov_exponent` and `standard_error` (trajectory, exponent), in nats per step (flows: per unit of time),
        exponents descending, −inf for directions that were mapped to zero exactly, NaN for what is not known;
        `is_bound` (trajectory, exponent), True where rounding hid a direction and the exponent is an upper bound, and
        for all finite exponents after it, as its true place may be among them or behind;
        `direction`, which vector of the first frame each exponent belongs to; `log_growth` (trajectory, interval,
        exponent), in nats, from which they derive;
        `condition` (trajectory, interval); `divergence_step` (trajectory), NaN for trajectories that did not
        diverge. Where trajectories differ in length, `n_steps` (trajectory) says how many steps count, and `duration`
        and `end_time` of intervals are (trajectory, interval), NaN behind the trajectory's end. The attributes
        tell how it was made, how many re-orthonormalisations it took and the worst condition they met.

    Raises
    ------
    ValueError
        If arguments do not fit the system or each other, or there is not the memory that it takes.
    DivergenceError
        With ``on_divergence="raise"``.
    SelfCheckError
        If the engine and a plain computation of the same growth disagree.

    Warns
    -----
    DivergenceWarning
        Naming trajectories that diverged, and directions that could not be resolved.
    LostDirectionWarning
        Naming directions that were mapped to zero, or of which a bound is known only.
    ReliabilityWarning
        About the system: a time step that is too large, for example. About inputs that may be meant in another way:
        more trajectories than steps, whole numbers as of pixels or tokens, values far from 1.
    LongRunWarning
        Before a run of more than a minute: how long it will take, how much memory, and what would make it faster.

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=10_000, n_transient=100)
    >>> float(ds.lyapunov_exponent.sum()).__round__(6)  # log 0.3, what every area shrinks by
    -1.203973
    >>> checkpoint, inputs = lk.examples.digits()
    >>> ds = lk.lyapunov_spectrum(checkpoint, lk.read_inputs(inputs)[:2, :60], n_exponents=3)
    >>> ds.lyapunov_exponent.shape
    (2, 3)
    """
    n_steps, n_transient, n_exponents, n_trajectories, seed = whole_numbers(
        n_steps=n_steps, n_transient=n_transient, n_exponents=n_exponents, n_trajectories=n_trajectories, seed=seed
    )
    system, initial_state = in_real_parts(as_system(system, **reading), initial_state)
    dtype = checked_dtype(dtype)
    device = chosen_device(device, inputs, system)
    measured = partial(
        _measured,
        system,
        n_transient=n_transient,
        n_exponents=n_exponents,
        reorthonormalize=reorthonormalize,
        accuracy=accuracy,
        initial_frame=initial_frame,
        on_divergence=on_divergence,
        dtype=dtype,
        device=device,
        seed=seed,
        check=check,
        compile=compile,
        keep_state=keep_state,
        progress=progress,
    )
    given, lengths = checked_lengths(inputs, lengths, n_transient)
    if lengths is not None:
        if keep_state:
            raise ValueError("keep_state= is for trajectories of one length: only these can be extended")
        if n_steps is not None:
            raise ValueError("give n_steps= or lengths=, not both: lengths say how many steps each trajectory has")
        values = [checked_inputs(row[None], system, trajectory=index)[0] for index, row in enumerate(given)]
        warn_of_doubtful_inputs(np.concatenate(values)[None], inputs, system, stacklevel=2)
        state = start_states(system, values, initial_state, n_trajectories, torch.Generator().manual_seed(seed))
        return by_length(measured, values, state)
    values = checked_inputs(given, system, None if n_steps is None else n_transient + n_steps)
    if values is not None and inputs is not None and np.ndim(inputs) > 1:
        warn_of_doubtful_inputs(values, inputs, system, stacklevel=2)
    generator = torch.Generator().manual_seed(seed)
    state = start_states(system, values, initial_state, n_trajectories, generator)
    n_steps = checked_steps(values, n_steps, n_transient)
    return measured(values, state, n_steps, generator=generator)


def _measured(
    system: System,
    input_values: np.ndarray | None,
    state: Tensor,
    n_steps: int,
    *,
    n_transient: int,
    n_exponents: int | None,
    reorthonormalize: int | Literal["adaptive"],
    accuracy: float | None,
    initial_frame: str | Array,
    on_divergence: str,
    dtype: torch.dtype,
    device: torch.device,
    seed: int,
    check: bool,
    compile: bool,
    keep_state: bool,
    progress: bool | None,
    generator: torch.Generator | None = None,
) -> xr.Dataset:
    """Return what `lyapunov_spectrum` does, for trajectories of one length, whose inputs and start are checked."""
    k = checked_n_exponents(n_exponents, system)
    reorthonormalize = plain(reorthonormalize)
    if reorthonormalize != "adaptive" and (not isinstance(reorthonormalize, int) or reorthonormalize < 1):
        raise ValueError(
            f"reorthonormalize must be 'adaptive' or a number of steps, at least 1, got {reorthonormalize!r}"
        )
    if accuracy is not None and not torch.finfo(dtype).eps < accuracy < 1:
        raise ValueError(f"accuracy must be between machine epsilon {torch.finfo(dtype).eps:.1e} and 1, got {accuracy}")
    if isinstance(initial_frame, str) and initial_frame not in ("identity", "random"):
        raise ValueError(f"initial_frame must be 'identity', 'random' or an array, got {initial_frame!r}")
    check_on_divergence(on_divergence)

    generator = generator or torch.Generator().manual_seed(seed)
    state = state.to(device, dtype)
    n_intervals = 2 * N_INTERVALS if reorthonormalize == "adaptive" else n_steps // reorthonormalize + 1
    all_steps = n_transient + n_steps
    memory = require_memory(len(state), all_steps, n_intervals, k, system, dtype, device)
    frame = _first_frame(system.state_size, k, initial_frame, generator).to(device, dtype)
    inputs = None if input_values is None else as_tensor(input_values, device, dtype)
    running = system.converted(dtype, device).prepared(state, inputs)
    if frame.ndim == 3 and len(frame) != len(state):
        raise ValueError(f"initial_frame is given for {len(frame)} trajectories, and there are {len(state)}")
    frame = frame.expand(len(state), -1, -1).contiguous()
    options: dict[str, Any] = {
        "n_steps": n_steps,
        "n_transient": n_transient,
        "reorthonormalize": reorthonormalize,
        "accuracy": accuracy,
        "on_divergence": on_divergence,
        "check": check,
        "interruptible": keep_state,
        "progress": progress,
    }
    term, computed_by = None, "compile=False"
    if compile:
        term, computed_by = propagate_compiled(running, state, frame, inputs, **options)
    if term is None:
        computed_by = f"torch {torch.__version__} (not compiled: {computed_by})"
        if notice := announcement(running, state, frame, inputs, all_steps, memory):
            warnings.warn(f"{running}: {notice}", LongRunWarning, stacklevel=3)
        precise = None if dtype == torch.float64 else running.converted(torch.float64, device)
        term = propagate(running, state, frame, inputs, precise=precise, **options)
    for finding in running.findings():
        warnings.warn(f"{running}: {finding}", ReliabilityWarning, stacklevel=3)
    interrupted = {}
    if (n_done := int(term.steps.sum())) < n_steps:
        interrupted = {"interrupted": f"after {n_done} of {n_steps} steps"}
        notice = f"interrupted {interrupted['interrupted']}, which are what is returned: lyapkit.extend goes on"
        warnings.warn(notice, ReliabilityWarning, stacklevel=3)
        n_steps = n_done
    attributes = running.description | provenance(
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
    attributes["computed_by"] = computed_by
    if input_values is not None:
        attributes["inputs_sha256"] = sha256(input_values)
        if is_constant(input_values):  # one input for all steps
            attributes["inputs"] = f"constant, {input_values[0, 0].tolist()}" if input_values.any() else "none: zero"
    ds = _dataset(term, running, attributes | interrupted)
    if keep_state:
        ds = ds.assign(_end(term, running, inputs, n_transient + n_steps))
        ds = ds.assign_coords(index("vector", k) | index("state", system.state_size))
        if input_values is not None:
            ds.attrs["seen_inputs_sha256"] = sha256(input_values[:, : n_transient + n_steps])
    return ds


def _end(term: VariationalTerm, system: System, inputs: Tensor | None, n_seen: int) -> dict[str, Variable]:
    """Return where a run ended, and the step from there by which the system can be known again."""
    with torch.no_grad():
        following = system.step(term.state, None if inputs is None else inputs[:, n_seen - 1])
    return (
        variable("final_state", ("trajectory", "state"), term.state.double().cpu().numpy())
        | variable("final_frame", ("trajectory", "vector", "state"), term.frame.double().cpu().numpy())
        | variable("next_state", ("trajectory", "state"), following.double().cpu().numpy())
    )


def _dataset(term: VariationalTerm, system: System, attributes: dict[str, str]) -> xr.Dataset:
    """Return the dataset of a variational term."""
    duration = term.steps.numpy() * system.time_step
    divergence_step = np.full(len(term.log_growth), np.nan)
    divergence_step[list(term.diverged)] = list(term.diverged.values())
    condition = term.condition.numpy()
    ds = exponents_of(term.log_growth.numpy(), term.is_bound.numpy(), condition, duration, system.time_unit)
    return ds.assign(variable("divergence_step", ("trajectory",), divergence_step)).assign_attrs(
        attributes
        | {
            "state_size": system.state_size,
            "time_step": float(system.time_step),
            "n_reorthonormalizations": term.n_reorthonormalizations,
            "n_reconditionings": term.n_reconditionings,
            "worst_condition": float(np.nanmax(condition, initial=1.0)),
            "references": "Dubinin & Effenberger 2024, Eq. 4 and Appendix A; Benettin et al. 1980",
        }
    )


def exponents_of(
    log_growth: np.ndarray, is_bound: np.ndarray, condition: np.ndarray, duration: np.ndarray, unit: str
) -> xr.Dataset:
    """Return exponents in descending order, and what they derive from.

    Parameters
    ----------
    log_growth : ndarray
        (trajectory, interval, vector), in the order of the first frame.
    is_bound : ndarray
        (trajectory, vector): which of them were lost.
    condition : ndarray
        (trajectory, interval).
    duration : ndarray
        (interval,), in `unit`.
    unit : str
        Of time.
    """
    order = np.argsort(-log_growth.sum(axis=1), axis=-1, kind="stable")  # NaN last
    log_growth = np.take_along_axis(log_growth, order[:, None], axis=-1)
    n_trajectories, n_intervals, k = log_growth.shape
    spectrum = ("trajectory", "exponent")
    exponents = log_growth.sum(axis=1) / duration.sum()
    errors = time_average_standard_error(log_growth, duration)
    is_bound = np.take_along_axis(is_bound, order, axis=-1)
    is_bound = np.logical_or.accumulate(is_bound, axis=-1) & np.isfinite(exponents)  # its place may be further below
    return xr.Dataset(
        variable("lyapunov_exponent", spectrum, exponents, unit)
        | variable("standard_error", spectrum, errors, unit)
        | variable("is_bound", spectrum, is_bound)
        | variable("direction", spectrum, order)
        | variable("log_growth", ("trajectory", "interval", "exponent"), log_growth)
        | variable("condition", ("trajectory", "interval"), condition),
        coords=index("trajectory", n_trajectories)
        | index("exponent", k, first=1)
        | index("interval", n_intervals)
        | variable("duration", ("interval",), duration, unit)
        | variable("end_time", ("interval",), duration.cumsum(), unit),
    )


def _first_frame(n: int, k: int, initial_frame: str | Array, generator: torch.Generator) -> Tensor:
    """Return k orthonormal rows, one set or one for each trajectory; only random ones meet the fastest if k < n."""
    if not isinstance(initial_frame, str):
        frame = torch.as_tensor(initial_frame).detach().cpu().double()
        if frame.ndim not in (2, 3) or frame.shape[-2:] != (k, n):
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
