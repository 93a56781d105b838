"""Compiled runs: what the engine gives, in all that it gives; closed forms; what is refused and said."""

import subprocess
import sys
import warnings

import mpmath
import numpy as np
import pytest
import torch

import lyapkit as lk
from lyapkit.compiled import runs

ALL = (
    *("log_growth", "is_bound", "condition", "direction", "divergence_step", "duration", "lyapunov_exponent"),
    "standard_error",
)


@pytest.fixture(autouse=True)
def _always(monkeypatch):
    monkeypatch.setattr(runs, "SHORT", 0)


def both(system, **options):
    """Datasets of compiled loop and engine."""
    spectra = [lk.lyapunov_spectrum(system, compile=compile, **options) for compile in (True, False)]
    assert spectra[0].attrs["computed_by"].startswith("machine code")
    assert spectra[1].attrs["computed_by"].startswith("torch")
    return spectra


def henon(s):
    return np.array([1 - 1.4 * s[0] ** 2 + s[1], 0.3 * s[0]])


def henon_jacobian(s):
    return np.array([[-2.8 * s[0], 1.0], [0.3, 0.0]])


def contracting(s):
    """Saturated: slopes of 1e-12 beside slopes of order 1, mixed before and after."""
    return np.array([np.tanh(20 * s[0] + s[1]), np.sin(s[0]) + 0.5 * s[1] + 0.1 * s[2], np.cos(s[1])])


def test_growths_are_those_of_the_engine():
    for options in ({}, {"n_exponents": 1}, {"reorthonormalize": 3}, {"reorthonormalize": 1}, {"n_transient": 7}):
        for system in (
            lk.classical.henon(),
            lk.Map(henon, 2, initial_state=[0.1, 0.1]),
            lk.Map(henon, 2, henon_jacobian, initial_state=[0.1, 0.1]),
            lk.Map(lambda s: s * (3.8 - 3.8 * s) + 0.02 * np.roll(s, 1), 4, initial_state=[0.1, 0.2, 0.3, 0.4]),
            lk.Map(contracting, 3, initial_state=[0.3, 0.1, 0.2]),
        ):
            if options.get("reorthonormalize") == 3 and system.name == "contracting":
                continue  # too long for its contraction
            got, expected = both(system, n_steps=24, n_trajectories=3, seed=1, **options)
            np.testing.assert_allclose(got.log_growth, expected.log_growth, atol=1e-7, err_msg=str(system))
            for name in ("is_bound", "direction", "duration"):
                assert got[name].equals(expected[name]), name
            assert got.attrs.keys() == expected.attrs.keys()


def test_driven_maps_and_constant_inputs():
    def step(s, x):
        return np.array([np.tanh(0.9 * s[0] - 1.3 * s[1] + x[0]), np.tanh(s[0] + x[1] * s[1])])

    system = lk.Map(step, 2, input_size=2, initial_state=[0.1, 0.2])
    inputs = np.random.default_rng(0).normal(size=(3, 40, 2))
    for options in ({"inputs": inputs}, {"inputs": inputs[0, 0], "n_steps": 40}, {"n_steps": 40}):
        got, expected = both(system, **options)
        np.testing.assert_allclose(got.log_growth, expected.log_growth, atol=1e-9)


class Leaky(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.read, self.recur = torch.nn.Linear(2, 3), torch.nn.Linear(3, 3)

    def forward(self, x, state):
        h, slow = state
        new = 0.7 * h + 0.3 * torch.tanh(self.read(x) + 3 * self.recur(torch.relu(h)) - slow)
        return new, slow + 0.1 * (torch.nn.functional.gelu(h).mean(-1, keepdim=True) - slow)


def test_cells_of_ones_own():
    torch.manual_seed(0)
    system = lk.from_module(Leaky(), state_size=(3, 1), input_size=2)
    start = np.random.default_rng(1).normal(size=(2, 4))
    got, expected = both(system, inputs=np.random.default_rng(0).normal(size=(2, 60, 2)), initial_state=start)
    np.testing.assert_allclose(got.log_growth, expected.log_growth, atol=1e-9)


def test_where_the_first_steps_disagree_the_engine_computes():
    matrix = torch.tensor([[0.9, -1.3], [1.1, 0.4]], dtype=torch.float64)

    def largest(s):  # at a tie torch halves the slope
        return torch.tanh(matrix @ torch.maximum(s, s.flip(0)) + 0.3 * s + 0.1)

    system = lk.Map(largest, 2, initial_state=[0.0, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lk.ReliabilityWarning)
        got, expected = (lk.lyapunov_spectrum(system, n_steps=50, compile=compile) for compile in (True, False))
    assert "grow differently" in got.attrs["computed_by"]
    assert got.lyapunov_exponent.equals(expected.lyapunov_exponent)


def test_logistic_exponent():
    ds = lk.lyapunov_spectrum(lk.Map(lambda x: 4 * x * (1 - x), 1, initial_state=[0.3]), n_steps=10**6)
    assert abs(float(ds.lyapunov_exponent[0, 0]) - np.log(2)) < 3 * float(ds.standard_error[0, 0]) + 1e-6
    assert ds.attrs["computed_by"].startswith("machine code")


def test_sum_is_log_of_determinant_at_every_time():
    ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=10_000, n_trajectories=5)
    np.testing.assert_allclose(ds.log_growth.sum("exponent") / ds.duration, np.log(0.3), atol=1e-10)


def test_piecewise_functions_without_jacobian():
    tents = (
        lambda x: 1.9 * np.minimum(x, 1 - x),
        lambda x: 1.9 * (0.5 - np.abs(x - 0.5)),
        lambda x: 1.9 * x if x[0] < 0.5 else 1.9 * (1 - x),
        lambda x: np.where(x < 0.5, 1.9 * x, 1.9 * (1 - x)),
    )
    for tent in tents:
        got, expected = both(lk.Map(tent, 1, initial_state=[0.1234567]), n_steps=2000)
        assert float(got.lyapunov_exponent[0, 0]) == pytest.approx(np.log(1.9), abs=1e-12)
        assert float(expected.lyapunov_exponent[0, 0]) == pytest.approx(np.log(1.9), abs=1e-12)
    cat = lk.Map(lambda s: np.array([2 * s[0] + s[1], s[0] + s[1]]) % 1.0, 2, initial_state=[0.1, 0.4])
    golden = np.log((3 + np.sqrt(5)) / 2)
    ds = lk.lyapunov_spectrum(cat, n_steps=2000, n_transient=100)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], [golden, -golden], atol=1e-12)


def test_at_a_kink_the_slope_is_that_of_a_side():
    system = lk.Map(lambda x: 2 * (0.5 - np.abs(x - 0.5)), 1, initial_state=[0.3])
    for ds in both(system, n_steps=200):  # comes to 1/2, and then to 0, in 53 steps, as all binary numbers do
        assert float(ds.lyapunov_exponent[0, 0]) == pytest.approx(np.log(2), abs=1e-14)


def test_strong_contraction_against_many_digits(agrees):
    """Three directions, of which one step makes the third 1e-13 times smaller; 60 digits say how much."""
    start, n_steps = [0.3, 0.1, 0.2], 30
    got = lk.lyapunov_spectrum(lk.Map(contracting, 3, initial_state=start), n_steps=n_steps)
    with mpmath.workdps(60):
        x, y, z = map(mpmath.mpf, map(float, start))
        frame = mpmath.eye(3)
        grown = [mpmath.mpf(0)] * 3
        for _ in range(n_steps):
            slope = mpmath.sech(20 * x + y) ** 2
            jacobian = mpmath.matrix(
                [[20 * slope, slope, 0], [mpmath.cos(x), 0.5, mpmath.mpf(0.1)], [0, -mpmath.sin(y), 0]]
            )
            x, y, z = mpmath.tanh(20 * x + y), mpmath.sin(x) + y / 2 + mpmath.mpf(0.1) * z, mpmath.cos(y)
            frame, upper = mpmath.qr(jacobian * frame)
            grown = [g + mpmath.log(abs(upper[i, i])) for i, g in enumerate(grown)]
    expected = np.sort([float(g) for g in grown])[::-1]
    known = ~got.is_bound.values[0]
    totals = got.log_growth.values[0].sum(0)
    agrees(totals[known], expected[known], "compiled", within=1e-5)
    assert (totals >= expected - 1e-5).all()


def test_directions_that_are_lost_die_and_diverge_as_in_the_engine():
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    matrix = rotation @ np.diag([1.5, 0.5, 1e-25]) @ rotation.T
    hidden = lk.Map(lambda s: matrix @ s, 3, initial_state=[0.0, 0.0, 0.0])
    dead = lk.Map(lambda s: np.array([np.cos(s[0] + s[1]), 0.3, 0.2 * s[0]]), 3, initial_state=[0.1, 0.2, 0.3])
    diverging = lk.Map(lambda s: s**2 + 0.1, 1)
    for system, options in (
        (hidden, {}),
        (dead, {}),
        (diverging, {"initial_state": np.array([[0.1], [1.5], [0.2], [3.0]])}),
    ):
        caught = []
        spectra = []
        for compile in (True, False):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                spectra.append(lk.lyapunov_spectrum(system, n_steps=40, n_transient=3, compile=compile, **options))
            caught.append([(w.category, str(w.message)) for w in seen])
        assert caught[0] == caught[1]
        assert caught[0]
        got, expected = spectra
        assert got.attrs["computed_by"].startswith("machine code")
        for name in ("is_bound", "divergence_step"):
            assert got[name].equals(expected[name]), name
        np.testing.assert_allclose(got.lyapunov_exponent, expected.lyapunov_exponent, atol=1e-6)


def test_threads_make_no_difference(monkeypatch):
    spectra = []
    for n_threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        spectra.append(lk.lyapunov_spectrum(lk.classical.henon(), n_steps=500, n_trajectories=31))
    for other in spectra[1:]:
        for name in ALL:
            assert spectra[0][name].equals(other[name]), name


def test_check_makes_no_difference_and_finds_wrong_code(monkeypatch):
    system = lk.Map(henon, 2, initial_state=[0.1, 0.1])
    checked, unchecked = (lk.lyapunov_spectrum(system, n_steps=500, check=check) for check in (True, False))
    for name in ALL:
        assert checked[name].equals(unchecked[name]), name

    from lyapkit.compiled import compilation

    class Wrong(compilation.MachineCode):
        def __init__(self, program, n_tangents):
            super().__init__(program, n_tangents)
            self.parameters = self.parameters * 1.001

    monkeypatch.setattr(compilation, "MachineCode", Wrong)
    ds = lk.lyapunov_spectrum(system, n_steps=500)
    assert "its first steps grow differently" in ds.attrs["computed_by"]
    assert ds["log_growth"].equals(lk.lyapunov_spectrum(system, n_steps=500, compile=False)["log_growth"])


def test_function_that_changes_on_the_way_is_found(monkeypatch):
    from lyapkit.compiled import kernels

    factor, compiled = [3.7], kernels.compiled

    def then_changes(*arguments):
        compiled(kernels.advance)(*arguments)
        factor[0] = 3.5

    monkeypatch.setattr(kernels, "compiled", lambda *_: then_changes)
    system = lk.Map(lambda s: factor[0] * s * (1 - s), 1, initial_state=[0.3])
    with pytest.raises(lk.SelfCheckError, match="compile=False"):
        lk.lyapunov_spectrum(system, n_steps=5000, check=False)


def test_time_steps_that_are_too_long_are_said():
    def field(s):
        return np.array([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]])

    start = [1.0, 1.0, 20.0]
    lk.lyapunov_spectrum(lk.Flow(field, 3, 0.01, initial_state=start), n_steps=3000)
    with pytest.warns(lk.ReliabilityWarning, match=r"time_step=0.07 is too long.*time_step=0.0[123]"):
        ds = lk.lyapunov_spectrum(lk.Flow(field, 3, 0.07, initial_state=start), n_steps=1500)
    assert ds.attrs["computed_by"].startswith("machine code")


def test_explicit_time():
    def field(time, s):
        return np.array([s[1], -0.2 * s[1] - np.sin(s[0]) + 0.5 * np.cos(0.7 * time)])

    got, expected = both(lk.Flow(field, 2, 0.05, time_dependent=True, initial_state=[1.0, 0.0]), n_steps=60)
    np.testing.assert_allclose(got.log_growth, expected.log_growth, atol=1e-9)
    assert got.sizes["exponent"] == 3


def test_without_llvmlite(monkeypatch):
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    ds = lk.lyapunov_spectrum(lk.Map(henon, 2, initial_state=[0.1, 0.1]), n_steps=2000)
    assert "there is no llvmlite" in ds.attrs["computed_by"]
    assert float(ds.lyapunov_exponent.sum()) == pytest.approx(np.log(0.3), abs=1e-10)


def test_an_older_llvmlite_is_not_asked(monkeypatch):
    monkeypatch.setattr("llvmlite.__version__", "0.45.1")
    ds = lk.lyapunov_spectrum(lk.Map(henon, 2, initial_state=[0.1, 0.1]), n_steps=2000)
    assert "llvmlite 0.45.1 is older than 0.46" in ds.attrs["computed_by"]


def test_words_on_what_is_not_compiled(monkeypatch):
    def until_small(s):
        while abs(s[0]) > 1:
            s = s / 2
        return 0.5 * s

    system = lk.Map(until_small, 1, lambda s: np.array([[0.5]]), initial_state=[0.3])
    assert "loops until" in lk.lyapunov_spectrum(system, n_steps=50).attrs["computed_by"]
    assert "float64" in lk.lyapunov_spectrum(lk.classical.henon(), n_steps=50, dtype="float32").attrs["computed_by"]
    assert "compile=False" in lk.lyapunov_spectrum(lk.classical.henon(), n_steps=50, compile=False).attrs["computed_by"]
    monkeypatch.undo()
    assert "short" in lk.lyapunov_spectrum(lk.classical.henon(), n_steps=50).attrs["computed_by"]


def test_llvmlite_is_not_imported_before_it_is_needed():
    code = "import lyapkit, sys; lyapkit.lyapunov_spectrum; print('llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == ["False"]
