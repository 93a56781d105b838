"""Every system of `lyapkit.classical` has the exponents that the literature, a closed form or SciPy gives."""

import inspect
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import fsolve
from scipy.special import lambertw

import lyapkit as lk
from lyapkit.systems.classical.known import KNOWN

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = sorted(name for name in lk.classical.__all__ if name.islower())
FLOWS = [name for name in NAMES if isinstance(getattr(lk.classical, name)(), lk.Flow)]


def spectrum(system, n_steps, **options):
    return lk.lyapunov_spectrum(system, n_steps=n_steps, **options)


def finite_time(system, n_steps, **options):
    return spectrum(system, n_steps, **options).lyapunov_exponent.values


def deviations(name, n_steps, n_trajectories, n_transient):
    """Return by how many standard errors, and roundings of the literature, known exponents are missed."""
    known = KNOWN[name]
    ds = spectrum(
        getattr(lk.classical, name)(), n_steps, n_trajectories=n_trajectories, n_transient=n_transient, seed=1
    )
    mean = lk.ensemble_mean(ds)
    k = len(known.exponents)
    off = np.abs(mean.lyapunov_exponent.values[:k] - known.exponents)
    return off, mean.standard_error.values[:k] + 1e-6, known.rounding


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_known_exponents(name):
    off, error, rounding = deviations(name, 8000 if name in FLOWS else 1500, 12, 500)
    assert (off <= 3 * error + rounding).all(), (off, error)
    assert (error < 0.2).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(KNOWN))
def test_known_exponents_to_more_digits(name):
    off, error, rounding = deviations(name, 40_000, 24, 2000)
    assert (off <= 3 * error + rounding).all(), (off, error)
    assert (error < 0.04).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("henon", np.log(0.3)),
        ("lozi", np.log(0.5)),
        ("ikeda", 2 * np.log(0.9)),
        ("standard", 0.0),
        ("standard_nontwist", 0.0),
        ("lorenz", -41 / 3),
        ("duffing", -0.25),
        ("henon_heiles", 0.0),
        ("double_pendulum", 0.0),
        ("lorenz96", -40.0),
    ],
)
def test_constant_sums(name, expected):
    """The log-determinant, or the divergence, is the same everywhere."""
    sums = finite_time(getattr(lk.classical, name)(), 300, n_trajectories=2).sum(1)
    np.testing.assert_allclose(sums, expected, atol=1e-3)


@pytest.mark.parametrize("name", FLOWS)
def test_flows_along_the_same_trajectory(name, agrees):
    """Finite-time exponents of one unit of time or more, integrated by SciPy at a tolerance of 1e-11."""
    options = {"lorenz96": {"n": 6}, "kuramoto": {"n": 4, "spread": 0.9}, "chua": {"time_step": 0.002}}.get(name, {})
    flow = getattr(lk.classical, name)(**options)
    n, n_steps = flow.state_size, max(100, round(1 / flow.time_step))
    start = flow.initial_state(1, torch.Generator().manual_seed(3))

    def right_hand_side(time, values):
        state, columns = torch.from_numpy(values[:n])[None], torch.from_numpy(values[n:]).reshape(1, n, n)
        velocity, pushed = flow._field.push(state, None, columns.mT)
        return np.concatenate([velocity[0].numpy(), pushed[0].mT.numpy().ravel()])

    values = np.concatenate([start[0].numpy(), np.eye(n).ravel()])
    logs = np.zeros(n)
    for _ in range(4):
        span = (0.0, n_steps * flow.time_step / 4)
        values = solve_ivp(right_hand_side, span, values, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
        q, r = np.linalg.qr(values[n:].reshape(n, n))
        logs += np.log(np.abs(np.diag(r)))
        values[n:] = q.ravel()
    expected = np.sort(logs / (n_steps * flow.time_step))[::-1]
    got = finite_time(flow, n_steps, initial_state=start)[0]
    tolerance = 2e-3 if name == "chua" else 2e-4  # which has kinks
    scale = max(1.0, np.abs(expected).max())
    agrees(got / scale, expected / scale, "flows", within=tolerance)


@pytest.mark.parametrize("name", ["henon_heiles", "double_pendulum"])
def test_energy_is_kept(name):
    system = getattr(lk.classical, name)()
    start = system.initial_state(3, torch.Generator().manual_seed(0))
    state = start
    for _ in range(500):
        state = system.step(state, None)
    energy = {"henon_heiles": henon_heiles_energy, "double_pendulum": double_pendulum_energy}[name]
    expected = {"henon_heiles": 1 / 6, "double_pendulum": 40.0 - 3 * 9.8}[name]
    np.testing.assert_allclose(energy(start), expected, rtol=1e-12)
    np.testing.assert_allclose(energy(state), expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["henon_heiles", "double_pendulum"])
def test_exponents_pair(name):
    exponents = finite_time(getattr(lk.classical, name)(), 100_000, n_trajectories=4).mean(0)
    np.testing.assert_allclose(exponents + exponents[::-1], 0.0, atol=0.01 * exponents.max())
    assert 0.0 < exponents[1] < 0.05 * exponents[0]


def henon_heiles_energy(state):
    x, y, p, q = state.unbind(-1)
    return (p**2 + q**2 + x**2 + y**2) / 2 + x**2 * y - y**3 / 3


def double_pendulum_energy(state):
    """Masses, lengths 1: kinetic energy from the velocities of both bobs, potential from their heights."""
    first, second, p, q = state.unbind(-1)
    cos = torch.cos(first - second)
    u = (p - cos * q) / (2 - cos**2)
    v = (2 * q - cos * p) / (2 - cos**2)
    kinetic = u**2 / 2 + (u**2 + v**2 + 2 * u * v * cos) / 2
    return kinetic - 9.8 * (2 * torch.cos(first) + torch.cos(second))


def test_double_pendulum_upright():
    """√((2 ± √2) g/l) and their opposites; rounding makes it fall after six units of time."""
    system = lk.classical.double_pendulum(time_step=0.002)
    exponents = finite_time(system, 1000, n_transient=1500, initial_state=[np.pi, np.pi, 0.0, 0.0])[0]
    fast, slow = np.sqrt((2 + np.sqrt(2)) * 9.8), np.sqrt((2 - np.sqrt(2)) * 9.8)
    np.testing.assert_allclose(exponents, [fast, slow, -slow, -fast], atol=1e-3)


def test_standard_nontwist_at_its_fixed_point():
    system = lk.classical.standard_nontwist(0.5, 0.3)
    exponents = finite_time(system, 100, n_transient=40, initial_state=[0.0, 1.0])[0]
    expected = np.arccosh(1 + 2 * np.pi * 0.5 * 0.3)
    np.testing.assert_allclose(exponents, [expected, -expected], atol=1e-10)


def test_kuramoto_locked():
    """The eigenvalues of the symmetric matrix at the locked state, which SciPy finds."""
    n, coupling, spread = 5, 1.5, 0.8
    frequencies = np.linspace(-spread, spread, n)

    def pulls(phases):
        differences = phases - phases[:, None]
        return frequencies + coupling / n * np.sin(differences).sum(1)

    phases = fsolve(lambda p: np.append(pulls(np.append(p, 0.0))[:-1], []), np.linspace(-0.7, 0.0, n - 1))
    phases = np.append(phases, 0.0)
    assert np.abs(pulls(phases)).max() < 1e-10
    weights = coupling / n * np.cos(phases - phases[:, None])
    expected = np.linalg.eigvalsh(weights - np.diag(weights.sum(1)))[::-1]
    exponents = finite_time(lk.classical.kuramoto(n, coupling, spread), 1000, n_transient=3000)[0]
    np.testing.assert_allclose(exponents, expected, atol=2e-4)


def test_lorenz96_at_its_fixed_point():
    """All variables equal to the forcing: the Jacobian is circulant."""
    n, forcing = 5, 1.5
    angles = 2 * np.pi * np.arange(n) / n
    expected = np.sort(-1 + forcing * (np.cos(angles) - np.cos(2 * angles)))[::-1]
    exponents = finite_time(lk.classical.lorenz96(n, forcing), 2000, n_transient=2000, initial_state=[forcing] * n)[0]
    np.testing.assert_allclose(exponents, expected, atol=0.02)


def characteristic_rates(system, n_exponents):
    """Return the real parts of the roots of s = −b + p' exp(−s τ) at the fixed point 1, by Lambert's function."""
    slope = system.a * (2 - system.c) / 4
    branches = np.arange(-n_exponents, n_exponents)
    roots = -system.b + lambertw(slope * system.tau * np.exp(system.b * system.tau), branches) / system.tau
    return np.sort(roots.real)[::-1][:n_exponents]


def test_delay_line_has_the_first_exponents_of_the_equation():
    """At the fixed point they are known. The first tenth are right, and the more so the more values the line has."""
    errors = []
    for n in (40, 80):
        system = lk.classical.mackey_glass(n=n)
        state = np.ones(n + 1)
        options = {"initial_frame": "random", "n_exponents": n // 5, "n_transient": 12 * n}
        got = finite_time(system, 4 * n, initial_state=state, **options)[0]
        errors.append(np.abs(got - characteristic_rates(system, n // 5)))
    assert errors[0][:4].max() < 2e-3
    assert errors[1][:8].max() < 3e-3
    assert errors[1][:4].max() < errors[0][:4].max() / 2
    assert errors[0][-2:].min() > 5 * errors[0][:2].max()  # a fifth is too many


def test_the_page_is_that_of_the_benchmark():
    """The table in docs/ is written from the JSON file, whose exponents agree with what is known."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import classical

    results = json.loads((ROOT / "benchmarks" / "classical.json").read_text())
    assert (ROOT / "docs" / "classical.md").read_text() == classical.page(results)
    for name, known in KNOWN.items():
        k, result = len(known.exponents), results[name]
        off = np.abs(np.array(result["exponents"][:k]) - known.exponents)
        # steps of fixed length are off by 1e-7
        assert (off <= 3 * np.array(result["errors"][:k]) + known.rounding + 1e-6).all(), name


def test_docstrings_say_what_is_known():
    for name, known in KNOWN.items():
        if known.rounding:
            text = inspect.getdoc(getattr(lk.classical, name)).replace("−", "-")
            digits = round(-np.log10(known.rounding))
            for value in known.exponents:
                assert (f"{value:.{digits}f}" if value else "0") in text, (name, value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lk.classical.henon_heiles(0.2), "energy must be between 0 and 1/6"),
        (lambda: lk.classical.double_pendulum(m1=0.0), "must be positive"),
        (lambda: lk.classical.lorenz96(3), "n >= 4"),
        (lambda: lk.classical.kuramoto(1), "n >= 2"),
        (lambda: lk.classical.mackey_glass(tau=-1.0), "positive parameters"),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()
