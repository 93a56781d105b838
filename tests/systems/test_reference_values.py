"""Exponents that are known exactly or from the literature, one by one, not as sums."""

import numpy as np
import pytest
import torch
from scipy.special import digamma

import lyapkit as lk
from lyapkit.systems.classical import CoupledMapLattice, RandomNetwork

GOLDEN = np.log((3 + np.sqrt(5)) / 2)


def _exponents(system, n_steps, **options):
    ds = lk.lyapunov_spectrum(system, n_steps=n_steps, **options)
    return lk.ensemble_mean(ds).lyapunov_exponent.values


def test_logistic():
    assert _exponents(lk.classical.logistic(), 100_000) == pytest.approx([np.log(2)], abs=1e-4)


@pytest.mark.parametrize("mu", [1.3, 1.9, 2.0])
def test_tent(mu, agrees):
    agrees(_exponents(lk.classical.tent(mu), 200), [np.log(mu)], "maps", within=1e-13)


def test_bernoulli_shift(agrees):
    shift = lk.Map(lambda x: (2 * x) % 1.0, 1, lambda x: np.array([[2.0]]), initial_state=[0.1234])
    agrees(_exponents(shift, 200), [np.log(2)], "maps", within=1e-13)


def test_cat(agrees):
    exponents = _exponents(lk.classical.cat(), 1000, n_transient=50)
    agrees(exponents, [GOLDEN, -GOLDEN], "maps", within=1e-12)


def test_baker(agrees):
    agrees(_exponents(lk.classical.baker(0.3), 500), np.log([2.0, 0.3]), "maps", within=1e-13)


def test_henon(agrees):
    """1000 trajectories of 1000 steps: ten times the 1e5 steps of the literature value."""
    exponents = _exponents(lk.classical.henon(), 1000, n_transient=100, n_trajectories=1000)
    agrees(exponents, [0.41922, -1.62319], "henon", within=1e-3)
    assert exponents.sum() == pytest.approx(np.log(0.3), abs=1e-12)


def test_standard_map_is_area_preserving_and_close_to_chirikov():
    exponents = _exponents(lk.classical.standard(12.0), 2000, n_trajectories=50)
    assert exponents[0] == pytest.approx(np.log(6.0), abs=0.03)
    assert exponents.sum() == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("n_sites", [3, 8])
def test_lattice_at_synchronous_fixed_point(n_sites, agrees):
    """At x = 3/4, slope −2 everywhere: the exponents are ln 2 plus the log-eigenvalues of the coupling."""
    system = CoupledMapLattice(n_sites, 0.25)
    exponents = _exponents(system, 200, n_transient=600, initial_state=np.full(n_sites, 0.75))
    modes = np.log(1 - 0.25 + 0.25 * np.cos(2 * np.pi * np.arange(n_sites) / n_sites))
    agrees(exponents, np.log(2) + np.sort(modes)[::-1], "maps", within=1e-9)


@pytest.mark.slow
def test_lorenz(agrees):
    """1000 trajectories of 100 units of time are as good as one of 1e5."""
    ds = lk.lyapunov_spectrum(lk.classical.lorenz(), n_steps=10_000, n_transient=1000, n_trajectories=1000)
    mean = lk.ensemble_mean(ds)
    agrees(mean.lyapunov_exponent, [0.9056, 0.0, -14.5723], "published flows", within=0.01)
    assert abs(float(mean.lyapunov_exponent[1])) < 2e-3
    assert float(mean.lyapunov_exponent.sum()) == pytest.approx(-41 / 3, abs=2e-4)  # the Runge–Kutta step's error
    fractal = lk.kaplan_yorke_dimension(ds).mean()
    assert float(fractal) == pytest.approx(2.062, abs=2e-3)


@pytest.mark.slow
def test_rossler(agrees):
    ds = lk.lyapunov_spectrum(lk.classical.rossler(), n_steps=10_000, n_transient=2000, n_trajectories=1000)
    exponents = lk.ensemble_mean(ds).lyapunov_exponent.values
    agrees(exponents[:2], [0.0714, 0.0], "published flows", within=2e-3)
    assert exponents[2] == pytest.approx(-5.3943, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("gain", "first", "mean"), [(2.0, 0.154724, -1.149023), (3.0, 0.310249, -2.272805)])
def test_random_network_against_mean_field_theory(gain, first, mean, agrees):
    """N = 512 is close to N → ∞. The mean exponent is mean log(1 − tanh²) + log|det J|/N, and the determinant of one J
    fluctuates around its known limit, log g − 1/2; that fluctuation is taken out.
    """
    system = RandomNetwork(512, gain)
    exponents = _exponents(system, 400, n_transient=100)
    fluctuation = float(torch.linalg.slogdet(system.weight)[1]) / 512 - (np.log(gain) - 0.5)
    agrees(exponents[0], first, "random networks", within=0.005)
    assert exponents.mean() - fluctuation == pytest.approx(mean, abs=0.015)
    assert exponents.mean() == pytest.approx(mean, abs=0.03)


def test_constant_matrix(agrees):
    """Converges to log|eig A|, and for a normal matrix is exact at once; a transposed push would give the same
    exponents, so the frame is compared too: it ends on the invariant subspaces of A, not of its transpose.
    """
    generator = np.random.default_rng(0)
    basis = generator.normal(size=(4, 4))
    values = np.array([1.5, -0.9, 0.5, 0.2])
    matrix = torch.from_numpy(basis @ np.diag(values) @ np.linalg.inv(basis))
    system = lk.Map(lambda s: matrix @ s, 4, initial_state=np.zeros(4))
    agrees(_exponents(system, 300, n_transient=200), np.log(np.abs(values)), "maps", within=1e-11)
    _, _, frame = _propagated(system, 4, 200)
    fastest = basis[:, 0] / np.linalg.norm(basis[:, 0])
    assert abs(frame[0] @ fastest) == pytest.approx(1.0, abs=1e-12)

    orthogonal = torch.from_numpy(np.linalg.qr(basis)[0])
    normal = orthogonal @ torch.diag(torch.from_numpy(values)) @ orthogonal.mT
    rotated = _exponents(lk.Map(lambda s: normal @ s, 4, initial_state=np.zeros(4)), 200, n_transient=200)
    agrees(rotated, np.log(np.abs(values)), "maps", within=1e-12)


def _propagated(system, n, n_steps):
    from lyapkit.tangent import propagate

    term = propagate(system, torch.zeros(1, n), torch.eye(n)[None], n_steps=n_steps)
    return term.log_growth[0].numpy(), term.steps.numpy(), term.frame[0].numpy()


def test_products_of_random_matrices(agrees):
    """i.i.d. Gaussian matrices: λ_i = (ln 2/N + ψ((N − i + 1)/2))/2 exactly (Newman 1986)."""
    n, n_steps = 5, 3000
    matrices = np.random.default_rng(0).normal(size=(20, n_steps, n * n)) / np.sqrt(n)
    system = lk.Map(
        lambda s, x: (x.unflatten(-1, (n, n)) @ s[:, :, None])[:, :, 0],
        n,
        lambda s, x: x.unflatten(-1, (n, n)),
        input_size=n * n,
        batched=True,
        initial_state=np.zeros(n),
    )
    ds = lk.lyapunov_spectrum(system, matrices)
    exact = 0.5 * (np.log(2 / n) + digamma((n - np.arange(n)) / 2))
    mean = lk.ensemble_mean(ds)
    agrees(mean.lyapunov_exponent, exact, "gaussian products", within=0.01)
    assert (np.abs(mean.lyapunov_exponent - exact) < 4 * mean.standard_error).all()


def test_sum_is_mean_log_determinant_at_every_finite_time():
    system = RandomNetwork(12, 2.0)
    state = system.initial_state(1, torch.Generator().manual_seed(3))
    ds = lk.lyapunov_spectrum(system, initial_state=state, n_steps=37)
    log_determinant = 0.0
    for _ in range(37):
        jacobian = system.weight * (1 - torch.tanh(state[0]) ** 2)
        log_determinant += float(torch.linalg.slogdet(jacobian)[1])
        state = system.step(state)
    assert float(ds.lyapunov_exponent.sum()) == pytest.approx(log_determinant / 37, abs=1e-12)


def _weakly_coupled(residual, weight, coupling):
    """h ← R h + α tanh(W h + x)."""
    return lk.Map(
        lambda h, x: h @ residual.mT + coupling * torch.tanh(h @ weight.mT + x),
        len(residual),
        lambda h, x: residual + coupling * (1 - torch.tanh(h @ weight.mT + x) ** 2)[:, :, None] * weight,
        input_size=len(residual),
        batched=True,
        initial_state=np.zeros(len(residual)),
    )


@pytest.mark.parametrize("n_steps", [1, 7, 200])
def test_uncoupled_residual_is_exact_at_every_finite_time(n_steps, agrees):
    radii = torch.linspace(1.02, 0.5, 6)
    blocks = [torch.tensor([[np.cos(w), -np.sin(w)], [np.sin(w), np.cos(w)]]) for w in (0.1, 1.0, 2.5)]
    inputs = torch.randn(1, n_steps, 6)
    for residual, moduli in (
        (torch.diag(radii), radii),
        (torch.diag(radii.flip(0)), radii),
        (0.9 * torch.block_diag(*blocks), torch.full((6,), 0.9)),
        (0.98 * torch.linalg.qr(torch.randn(6, 6))[0], torch.full((6,), 0.98)),
    ):
        system = _weakly_coupled(residual, torch.zeros(6, 6), 0.0)
        exponents = lk.lyapunov_spectrum(system, inputs).lyapunov_exponent[0]
        agrees(exponents, moduli.log(), "no coupling", within=1e-12)


@pytest.mark.parametrize("n_steps", [1, 20, 500])
@pytest.mark.parametrize("coupling", [0.001, 0.01, 0.1])
def test_weakly_coupled_exponents_keep_within_weyl_bounds(n_steps, coupling):
    """R = r Q, Q orthogonal: every exponent lies in [log(r − αβ), log(r + αβ)], β = ‖W‖₂, at every finite time."""
    radius, weight = 0.98, torch.randn(20, 20) / np.sqrt(20)
    residual = radius * torch.linalg.qr(torch.randn(20, 20))[0]
    ds = lk.lyapunov_spectrum(_weakly_coupled(residual, weight, coupling), torch.randn(3, n_steps, 20))
    reach = coupling * float(torch.linalg.matrix_norm(weight, 2))
    assert np.log(radius - reach) <= float(ds.lyapunov_exponent.min())
    assert float(ds.lyapunov_exponent.max()) <= np.log(radius + reach)
    assert float(ds.lyapunov_exponent.max() - ds.lyapunov_exponent.min()) > 0.02 * coupling
