"""Eq. 13 put to the test: how near a network's exponents are to the log-moduli of its residual's eigenvalues.

Along a trajectory of a WCRNN the Jacobian is J_t = diag(s_t) R + diag(g_t) W, with s_t = 1 and g_t = α σ'(z_t) for the
kind "linear". Everything here follows from these two gains:

- to zeroth order in α the exponents are log|eig R| (Dubinin & Effenberger 2024, Eq. 13);
- to first order they are those of the time-averaged Jacobian, J̄ = diag(s̄) R + diag(ḡ) W. This has two regimes, since
  the frame of perturbations aligns only after about 1/α steps: at a fixed short time the frame is still that of the
  residual alone, and each direction meets its own diagonal entry of ḡ W; after a long time they are log|eig J̄|;
- by Weyl's inequality all exponents, of any time, lie between bounds that the norms of the parts set: a certificate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from lyapkit.arguments import Array, checked_inputs
from lyapkit.labels import variable
from lyapkit.lyapunov import lyapunov_spectrum
from lyapkit.models.residuals import Residual
from lyapkit.models.wcrnn import WCRNN
from lyapkit.models.wcrnn_kinds import Gains
from lyapkit.statistics import running_exponents
from lyapkit.systems import System
from lyapkit.tangent import MOST_STEPS_AT_ONCE, propagate

LARGEST_CONDITION = 1e12  # of a product of Jacobians whose singular values can be told from rounding


def predicted_exponents(residual: Residual) -> np.ndarray:
    """Return log|ρ_i| of a residual's eigenvalues, (N,), descending, in nats per step (Eq. 13). −∞ for ρ_i = 0."""
    with np.errstate(divide="ignore"):
        return np.log(np.abs(residual.eigenvalues))


def ordered_frame(residual: Residual) -> Tensor:
    """Return orthonormal rows (N, N) that span the residual's invariant subspaces, those of largest modulus first.

    Growth of perturbations that start there is sorted from the first step on. From any other frame the fast directions
    have yet to be found, which takes longer than 1/(difference of the exponents) steps. The identity if all moduli are
    equal.
    """
    values, vectors = np.linalg.eig(residual.matrix.detach().double().cpu().numpy())
    moduli = np.abs(values)
    if np.allclose(moduli, moduli[0], rtol=1e-9, atol=0):
        return torch.eye(residual.size, dtype=torch.float64)
    # real and imaginary part of one of each conjugate pair, and the real vectors
    order = [i for i in np.argsort(-moduli, kind="stable") if values[i].imag >= 0]
    columns = [
        part
        for i in order
        for part in ([vectors[:, i].real, vectors[:, i].imag] if values[i].imag else [vectors[:, i].real])
    ]
    return torch.from_numpy(np.linalg.qr(np.stack(columns, axis=1))[0].T.copy())


@torch.no_grad()
def validate_weak_coupling(
    model: WCRNN | nn.RNN,
    inputs: Array,
    *,
    residual: Residual | Array | None = None,
    n_transient: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Measure a network's exponents and compare them with what its residual predicts (Eq. 13).

    Parameters
    ----------
    model : WCRNN or nn.RNN
        A WCRNN; or an Elman network (one layer, tanh) together with the `residual` it was initialised with, to ask how
        much of it is left.
    inputs : array, tensor or DataArray
        (trajectory, time, feature), as for `lyapunov_spectrum`.
    residual : Residual or array, optional
        R of an Elman network.
    n_transient : int
        Leading steps that move state and frame but are not counted.
    progress : bool, optional
        Show a progress bar. Default: after two seconds, in terminals and notebooks.

    Returns
    -------
    xarray.Dataset
        What `lyapunov_spectrum` returns, measured, and in nats per step:
        `predicted_exponent` (exponent), log|eig R|; the first-order predictions (trajectory, exponent):
        `averaged_exponent`, of the time-averaged Jacobian at the same time, `long_time_exponent`, its limit, and
        `fixed_time_exponent`, its beginning, NaN after a transient, or for a residual that is neither diagonal nor,
        with the kind "linear", a multiple of an orthogonal matrix; `certificate_lower` and `certificate_upper`
        (trajectory); `largest_deviation` and `mean_deviation` (trajectory) of the measured exponents from log|eig R|,
        and `running_deviation` (trajectory, interval), the largest up to the end of each interval. And
        `perturbation_norm` (trajectory), the αβ of the certificate. The attribute `verdict` says it in plain language.

    Raises
    ------
    ValueError
        If the model is another one, an Elman network comes without residual, or the inputs do not fit.
    DivergenceWarning
        As `lyapunov_spectrum`.

    Notes
    -----
    Perturbations start in the residual's own order, `ordered_frame`. Where the residual's moduli differ and the first
    frame is the identity, as in the paper, the exponents at a finite time are mixtures, further from their limits
    the *weaker* the coupling is.

    Examples
    --------
    >>> import lyapkit as lk
    >>> import numpy as np
    >>> model = lk.WCRNN(1, 8, 10, lk.residuals.scaled_identity(8, 0.9), 0.001)
    >>> ds = lk.validate_weak_coupling(model, np.zeros((1, 200, 1)))
    >>> ds.attrs["verdict"][:15]
    'Eq. 13 holds to'
    """
    system = _as_wcrnn(model, residual).converted(torch.float64, torch.device("cpu"))
    frame = ordered_frame(system.residual)
    ds = lyapunov_spectrum(system, inputs, n_transient=n_transient, initial_frame=frame, progress=progress)
    along = _Along(system, frame, n_transient)
    for gains in _gains(system, torch.from_numpy(checked_inputs(inputs, system)), n_transient):
        along.add(Gains(*(part.nan_to_num(0.0, 0.0, 0.0) for part in gains)))  # diverged trajectories: see below

    predicted = predicted_exponents(system.residual)
    running = np.sort(running_exponents(ds).values, axis=-1)[..., ::-1]
    deviation = np.abs(ds["lyapunov_exponent"].values - predicted)
    lower, upper, norm = along.certificate()
    spectrum, single = ("trajectory", "exponent"), ("trajectory",)
    ds = ds.assign(
        variable("predicted_exponent", ("exponent",), predicted)
        | variable("averaged_exponent", spectrum, along.averaged())
        | variable("long_time_exponent", spectrum, along.long_time())
        | variable("fixed_time_exponent", spectrum, along.fixed_time(ds["direction"].values))
        | variable("certificate_lower", single, lower)
        | variable("certificate_upper", single, upper)
        | variable("perturbation_norm", single, norm)
        | variable("largest_deviation", single, deviation.max(axis=1))
        | variable("mean_deviation", single, deviation.mean(axis=1))
        | variable("running_deviation", ("trajectory", "interval"), np.abs(running - predicted).max(axis=-1))
    )
    made = [name for name in ds.data_vars if "trajectory" in ds[name].dims and name != "divergence_step"]
    ds.update(ds[made].where(np.isnan(ds["divergence_step"])))
    ds.attrs["references"] = "Dubinin & Effenberger 2024, Eq. 13 and Appendix A"
    ds.attrs["verdict"] = verdict(ds)
    return ds


def verdict(ds: xr.Dataset) -> str:
    """Return what a dataset of `validate_weak_coupling` says about Eq. 13, in plain language."""
    measured, predicted = ds["lyapunov_exponent"], ds["predicted_exponent"]
    if not bool(np.isfinite(measured).all()):
        return "Eq. 13 cannot be judged: some exponents are not finite numbers."
    deviation = float(ds["largest_deviation"].max())
    left = float(np.abs(measured - ds["averaged_exponent"]).max())
    bound = float(
        np.maximum(ds["certificate_upper"] - predicted.min(), predicted.max() - ds["certificate_lower"]).max()
    )
    distance = float(np.abs(predicted).min())
    kept = bool((np.sign(measured) == np.sign(predicted)).all())
    lines = [
        f"Eq. 13 holds to {deviation:.2g} nats per step: the largest deviation of {measured.sizes['exponent']} "
        f"exponents from log|eig R|, over {measured.sizes['trajectory']} trajectories of "
        f"{int(ds['duration'].sum())} steps.",
        f"Theory alone guarantees {bound:.2g} (Weyl)."
        if np.isfinite(bound)
        else "Theory alone guarantees nothing from below: the coupling is as strong as the residual (Weyl).",
        f"The time-averaged Jacobian (first order) predicts the exponents to {left:.2g}.",
    ]
    if distance < 1e-12:
        lines.append("The residual is critical, so no coupling is weak enough for Eq. 13 to tell the exponents' signs.")
    else:
        lines.append(
            f"That is {deviation / distance:.0%} of the distance to criticality, {distance:.2g}: the network "
            + ("is weakly coupled" if deviation < distance else "is not weakly coupled")
            + (", and every exponent has the sign of its prediction." if kept else "; some exponents change sign.")
        )
    return " ".join(lines)


@torch.no_grad()
def variational_deviation(model: WCRNN, inputs: Array, times: Sequence[int]) -> xr.Dataset:
    """Return how far V_T is from R^T, its value without coupling (Eq. 12), and the logs of its singular values.

    V_T is multiplied out, without re-orthonormalisation: for times up to some hundred steps.

    Parameters
    ----------
    model : WCRNN
        Of the kind "linear" if R^T is to be its limit for weak coupling.
    inputs : array
        (trajectory, time, feature).
    times : sequence of int
        The T's, ascending, at most the number of inputs.

    Returns
    -------
    xarray.Dataset
        `variational_deviation` (trajectory, time), ‖V_T − R^T‖ / ‖R^T‖ in the spectral norm; `singular_exponent`
        (trajectory, time, exponent), log(singular value of V_T)/T (Eq. 4 at a finite time), nats per step, NaN where
        the condition of V_T exceeds 1e12.
    """
    system = model.converted(torch.float64, torch.device("cpu"))
    values = torch.from_numpy(checked_inputs(inputs, system))
    matrix, n = system.residual.matrix, system.state_size
    state, rows = torch.zeros(len(values), n, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
    rows, power, before = rows.repeat(len(values), 1, 1), rows, 0
    deviations, exponents = [], []
    for time in times:
        state, rows = system.push_along(state, values[:, before:time], rows, time - before)
        power, before = torch.linalg.matrix_power(matrix, time - before) @ power, time
        distance = torch.linalg.matrix_norm(rows.mT - power, ord=2)
        deviations.append(distance / torch.linalg.matrix_norm(power, ord=2))
        singular = torch.linalg.svdvals(rows)
        resolved = singular[:, -1:] * LARGEST_CONDITION > singular[:, :1]
        exponents.append(torch.where(resolved, singular.log() / time, torch.nan))
    by_time = ("trajectory", "time")
    return xr.Dataset(
        variable("variational_deviation", by_time, torch.stack(deviations, 1).numpy())
        | variable("singular_exponent", (*by_time, "exponent"), torch.stack(exponents, 1).numpy()),
        coords=variable("time", ("time",), np.array(times)),
    )


def _as_wcrnn(model: WCRNN | nn.RNN, residual: Residual | Array | None) -> WCRNN:
    if isinstance(model, WCRNN):
        if residual is not None:
            raise ValueError("a WCRNN has its own residual: residual= is for Elman networks")
        return model
    if isinstance(model, nn.RNN) and residual is not None:
        return WCRNN.from_elman(model, residual)
    raise ValueError(
        f"expected a WCRNN, or an nn.RNN together with the residual= that it was initialised with, got {type(model)}"
    )


def _gains(model: WCRNN, inputs: Tensor, n_transient: int) -> Iterator[Gains]:
    """Yield the gains along the trajectories, in pieces, without the transient's."""
    state = inputs.new_zeros(len(inputs), model.state_size)
    for start in range(0, inputs.shape[1], MOST_STEPS_AT_ONCE):
        states, gains = model.linearized(state, inputs[:, start : start + MOST_STEPS_AT_ONCE])
        state = states[:, -1]
        if start + MOST_STEPS_AT_ONCE > n_transient:
            yield Gains(*(part[:, max(0, n_transient - start) :] for part in gains))


class _Constant(System):
    """A linear map of its own for every trajectory, h ← J h with J (B, N, N)."""

    def __init__(self, jacobian: Tensor) -> None:
        self.jacobian = jacobian
        self.state_size = jacobian.shape[-1]

    def step(self, state: Tensor, input: Tensor) -> Tensor:
        return (self.jacobian @ state[:, :, None])[:, :, 0]

    def push_along(self, state: Tensor, inputs: Tensor, tangent: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
        power = torch.linalg.matrix_power(self.jacobian, n_steps)
        return (power @ state[:, :, None])[:, :, 0], tangent @ power.mT


class _Along:
    """What theory needs to know of the gains along trajectories, collected piece by piece."""

    def __init__(self, model: WCRNN, frame: Tensor, n_transient: int) -> None:
        self.n_transient = n_transient
        self.weight, self.residual = model.recurrent.weight, model.residual
        self.singular_values = torch.linalg.svdvals(model.residual.matrix)
        self.n_steps = 0
        none = torch.zeros(1, 1, dtype=self.weight.dtype)
        self.sum_residual, self.sum_coupling, self.largest_coupling = none, none, none  # (B, N) each
        self.extremes: list[tuple[Tensor, Tensor]] = []  # of the residual's gain over units, (B, T) each
        self.growth = none  # (B, N): the fixed-time exponents times T
        self.first_frame = frame
        self.columns = frame.mT  # the frame, moved by the residual alone
        shears = float(self.singular_values[0] / self.singular_values[-1]) > 1 + 1e-9
        known = model.residual.is_diagonal or (model.kind == "linear" and not shears)
        self.has_fixed_time = known and not n_transient

    def add(self, gains: Gains) -> None:
        self.n_steps += gains.coupling.shape[1]
        self.sum_residual = self.sum_residual + gains.residual.sum(1)
        self.sum_coupling = self.sum_coupling + gains.coupling.sum(1)
        self.largest_coupling = torch.clamp(gains.coupling.abs().amax(1), min=self.largest_coupling)
        self.extremes.append((gains.residual.abs().amin(-1), gains.residual.abs().amax(-1)))
        if self.residual.is_diagonal and self.has_fixed_time:
            straight = gains.residual * self.residual.values
            own = gains.coupling * self.weight.diagonal()
            self.growth = self.growth + (straight.abs().log() + own / straight).sum(1)
        elif self.has_fixed_time:
            self._add_rotating(gains.coupling)

    def _add_rotating(self, coupling: Tensor) -> None:
        """Follow a frame that R = r·orthogonal turns: what g adds to the factor r is [Q_tᵀ diag(g) W Q_{t−1}]_ii."""
        r = self.singular_values[0]
        for gain in coupling.unbind(1):
            turned = self.residual.matrix @ self.columns / r
            self.growth = self.growth + r.log() + gain @ (turned * (self.weight @ self.columns)) / r
            self.columns = turned

    def mean_jacobian(self) -> Tensor:
        """Return the time-averaged Jacobian of each trajectory, (B, N, N)."""
        coupled = (self.sum_coupling / self.n_steps)[:, :, None] * self.weight
        return (self.sum_residual / self.n_steps)[:, :, None] * self.residual.matrix + coupled

    def averaged(self) -> np.ndarray:
        """Return the finite-time exponents of the time-averaged Jacobian, (B, N), descending."""
        system = _Constant(self.mean_jacobian())
        n_trajectories, n = self.sum_coupling.shape
        state, frame = (
            torch.zeros(n_trajectories, n, dtype=torch.float64),
            self.first_frame.repeat(n_trajectories, 1, 1),
        )
        term = propagate(system, state, frame, n_steps=self.n_steps, n_transient=self.n_transient)
        return (term.log_growth.sum(1) / self.n_steps).sort(descending=True).values.numpy()

    def long_time(self) -> np.ndarray:
        """Return log|eig| of the time-averaged Jacobian, (B, N), descending."""
        moduli = torch.linalg.eigvals(self.mean_jacobian()).abs()
        return moduli.log().sort(descending=True).values.numpy()

    def fixed_time(self, direction: np.ndarray) -> np.ndarray:
        """Return the first-order exponents of a frame that is still that of the residual, (B, N).

        Each exponent's is that of its own `direction` in the frame, so they need not be in descending order: sorted
        anew, differences of second order would hide where two exponents change places.
        """
        if not self.has_fixed_time:
            return np.full(self.sum_coupling.shape, np.nan)
        growth = self.growth
        if self.residual.is_diagonal:  # from units to vectors of the frame, each of which is one unit
            growth = growth @ self.first_frame.square().mT
        return np.take_along_axis((growth / self.n_steps).numpy(), direction, axis=1)

    def certificate(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the bounds on all exponents, and the norm of the perturbation, (B,) each.

        A step stretches by at most max(s) σ_max(R) + αβ and at least min(s) σ_min(R) − αβ (Weyl), where
        αβ = ‖diag(sup_t g_t) W‖ bounds the norms ‖diag(g_t) W‖ of all steps.
        """
        norm = torch.linalg.matrix_norm(self.largest_coupling[:, :, None] * self.weight, ord=2)
        smallest, largest = (torch.cat(parts, 1) for parts in zip(*self.extremes, strict=True))
        upper = (largest * self.singular_values[0] + norm[:, None]).log().mean(1)
        lower = (smallest * self.singular_values[-1] - norm[:, None]).clamp(min=0.0).log().mean(1)
        return lower.numpy(), upper.numpy(), norm.numpy()
