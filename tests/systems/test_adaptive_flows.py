"""Flows by steps of adapted length against closed forms, and SciPy at a tolerance of 1e-12."""

import warnings

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import lyapkit as lk
from lyapkit.compiled import runs
from lyapkit.systems.adaptive_steps import AdaptiveSteps, probes

LONG = 1100  # steps from which flows are compiled


def lorenz(scale=1.0, **options):
    def field(s):
        x, y, z = s.T / scale
        return scale * np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]).T

    def jacobian(s):
        x, y, z = s.T / scale
        zero = 0 * x
        rows = [[zero - 10, zero + 10, zero], [28 - z, zero - 1, -x], [y, x, zero - 8 / 3]]
        return np.moveaxis(np.array(rows), -1, 0)

    start = scale * np.array([1.0, 1.0, 20.0])
    return lk.Flow(field, 3, jacobian=jacobian, initial_state=start, batched=True, **options)


def van_der_pol(mu, **options):
    def jacobian(s):
        x, v = s.T
        return np.moveaxis(np.array([[0 * x, 0 * x + 1], [-2 * mu * x * v - 1, mu * (1 - x**2)]]), -1, 0)

    return lk.Flow(
        lambda s: np.array([s[:, 1], mu * (1 - s[:, 0] ** 2) * s[:, 1] - s[:, 0]]).T,
        2,
        jacobian=jacobian,
        initial_state=[2.0, 0.0],
        batched=True,
        **options,
    )


def spectrum(flow, n_steps, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error", lk.ReliabilityWarning)
        return lk.lyapunov_spectrum(flow, n_steps=n_steps, **options)


def by_scipy(flow, start, duration, n_parts):
    """Return the finite-time exponents of a batched NumPy flow."""
    n = len(start)
    field, jacobian = flow.field._step.function, flow.field._jacobian.function

    def right_hand_side(t, values):
        state = values[None, :n]
        return np.concatenate([field(state)[0], (jacobian(state)[0] @ values[n:].reshape(n, n)).ravel()])

    values, logs = np.concatenate([start, np.eye(n).ravel()]), np.zeros(n)
    for part in range(n_parts):
        span = duration / n_parts * np.array([part, part + 1])
        values = solve_ivp(right_hand_side, span, values, method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
        q, r = np.linalg.qr(values[n:].reshape(n, n))
        logs += np.log(np.abs(np.diag(r)))
        values[n:] = q.ravel()
    return np.sort(logs / duration)[::-1]


@pytest.mark.parametrize(
    "options",
    [{}, {"time_step": 0.1, "rtol": 1e-4}, pytest.param({"time_step": 1.0, "rtol": 1e-9}, marks=pytest.mark.slow)],
)
def test_lorenz_along_a_trajectory(options):
    flow = lorenz(**options)
    n_steps = round(1.0 / spectrum(flow, 1).time_step)
    ds = spectrum(flow, n_steps)
    expected = by_scipy(flow, [1.0, 1.0, 20.0], n_steps * ds.time_step, 10)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], expected, atol=1e-5)


@pytest.mark.parametrize("rtol", [1e-4, 1e-7, 1e-11])
def test_lorenz_divergence_in_compiled_runs(rtol):
    """The sum is −41/3 exactly; at the loosest tolerance that is allowed it is off by a millionth."""
    ds = spectrum(lorenz(time_step=0.1, rtol=rtol), LONG)
    assert ds.computed_by.startswith("machine code")
    off = abs(float(ds.lyapunov_exponent.sum()) + 41 / 3)
    assert off < max(1e-11, rtol)
    assert abs(float(ds.lyapunov_exponent[0, 0]) - 0.9056) < 0.15


def test_rossler_divergence():
    """The sum is the mean of a − c + x along the trajectory, which SciPy integrates, too."""
    ds = spectrum(lk.classical.rossler(time_step=None), 100, initial_state=[1.0, 1.0, 0.0])
    duration = 100 * ds.time_step

    def right_hand_side(t, s):
        return [-s[1] - s[2], s[0] + 0.2 * s[1], 0.2 + s[2] * (s[0] - 5.7), 0.2 - 5.7 + s[0]]

    total = solve_ivp(right_hand_side, (0, duration), [1.0, 1.0, 0.0, 0.0], method="DOP853", rtol=1e-12, atol=1e-13)
    assert float(ds.lyapunov_exponent.sum()) == pytest.approx(total.y[3, -1] / duration, abs=1e-6)


@pytest.mark.parametrize(
    "matrix",
    [
        [[-1.0, 50.0], [0.0, -2.0]],
        [[0.3, 4.0, -1.0], [-4.0, 0.3, 20.0], [0.0, 0.0, -1.5]],
        [[-25.0, 0.0], [0.0, -0.1]],
        [[0.0, 1.0], [-1.0, 0.0]],
    ],
)
@pytest.mark.parametrize("n_steps", [pytest.param(20, marks=pytest.mark.slow), LONG])
def test_linear_fields(matrix, n_steps):
    """The logs of R of the matrix exponential at every time; in the limit the eigenvalues' real parts."""
    matrix, n = np.array(matrix), len(matrix)
    flow = lk.Flow(lambda s: matrix @ s, n, jacobian=lambda s: matrix, time_step=0.25, rtol=1e-9)
    ds = spectrum(flow, n_steps, initial_state=np.full(n, 1e-3), reorthonormalize=1)
    q, logs, jacobian = np.eye(n), np.zeros(n), expm(0.25 * matrix)
    for _ in range(n_steps):
        q, r = np.linalg.qr(jacobian @ q)
        logs += np.log(np.abs(np.diag(r)))
    expected = np.sort(logs / (0.25 * n_steps))[::-1]
    np.testing.assert_allclose(ds.lyapunov_exponent[0], expected, atol=1e-6)
    if n_steps == LONG:
        np.testing.assert_allclose(ds.lyapunov_exponent[0], np.sort(np.linalg.eigvals(matrix).real)[::-1], atol=0.03)


def forced_oscillator(**options):
    return lk.Flow(
        lambda t, s: np.array([s[1], -s[0] - 0.4 * s[1] + np.cos(2 * t)]),
        2,
        jacobian=lambda t, s: np.array([[0.0, 1.0], [-1.0, -0.4]]),
        time_dependent=True,
        initial_state=[0.3, 0.1],
        **options,
    )


@pytest.mark.parametrize("n_steps", [pytest.param(12, marks=pytest.mark.slow), LONG])
def test_forced_linear_oscillator(n_steps):
    """Half turns of the free oscillation: −0.2 twice, and 0 of the time; the state is known, too."""
    turn = np.pi / np.sqrt(0.96)
    flow = forced_oscillator(time_step=turn, rtol=1e-9)
    ds = spectrum(flow, n_steps)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], [0.0, -0.2, -0.2], atol=1e-6)
    state = torch.tensor([[0.3, 0.1, 0.0]])
    state = flow.step(state, None)
    end = solve_ivp(
        lambda t, s: [s[1], -s[0] - 0.4 * s[1] + np.cos(2 * t)], (0, turn), [0.3, 0.1], rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(state[0], [*end.y[:, -1], turn], atol=1e-8)


@pytest.mark.slow
def test_floquet_exponents_of_a_damped_mathieu_oscillator():
    """One step is one period; the monodromy matrix is SciPy's."""

    def jacobian(t, s):
        return np.array([[0.0, 1.0], [-1.2 - 0.8 * np.cos(2 * t), -0.1]])

    flow = lk.Flow(
        lambda t, s: jacobian(t, s) @ s, 2, np.pi, jacobian, time_dependent=True, rtol=1e-10, initial_state=[1e-3, 0.0]
    )
    columns = [
        solve_ivp(lambda t, s: jacobian(t, s) @ s, (0, np.pi), column, method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
        for column in np.eye(2)
    ]
    multipliers = np.linalg.eigvals(np.array(columns).T)
    expected = np.sort(np.log(np.abs(multipliers)) / np.pi)[::-1]
    assert expected[0] > 0.05  # in the tongue: no rotation, the exponents differ
    ds = spectrum(flow, 4, n_transient=20)
    found = sorted(ds.lyapunov_exponent.values[0], key=abs)[1:]  # but for that of the time
    np.testing.assert_allclose(sorted(found, reverse=True), expected, atol=1e-6)


@pytest.mark.slow
def test_limit_cycle():
    """0, and the mean divergence of van der Pol's cycle; the period and both by SciPy."""
    field = van_der_pol(2.0).field._step.function

    def crossing(t, s):
        return s[1]

    crossing.direction = -1
    run = solve_ivp(
        lambda t, s: [*field(s[None, :2])[0], 2.0 * (1 - s[0] ** 2)],
        (0, 100),
        [2.0, 0.0, 0.0],
        method="DOP853",
        rtol=1e-12,
        atol=1e-13,
        events=crossing,
    )
    times, values = run.t_events[0], run.y_events[0][:, 2]
    period, expected = times[-1] - times[-2], (values[-1] - values[-2]) / (times[-1] - times[-2])
    flow = van_der_pol(2.0, time_step=period / 4, rtol=1e-9)
    ds = spectrum(flow, 8, n_transient=20)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], [0.0, expected], atol=1e-6)


def test_units_make_no_difference():
    """Lorenz in units in which its variables are 1e-13: the same exponents."""
    one, tiny = (spectrum(lorenz(scale, time_step=0.1, rtol=1e-7), 30) for scale in (1.0, 1e-13))
    np.testing.assert_allclose(one.lyapunov_exponent, tiny.lyapunov_exponent, rtol=1e-8)


def test_compiled_steps_are_the_same(monkeypatch):
    monkeypatch.setattr(runs, "SHORT", 10)
    flow = van_der_pol(3.0, time_step=0.2, rtol=1e-8)
    options = {"n_transient": 10, "initial_state": [[2.0, 0.0], [0.1, 0.1]]}
    fast, slow = (spectrum(flow, 30, compile=compile, **options) for compile in (True, False))
    assert fast.computed_by.startswith("machine code")
    np.testing.assert_allclose(fast.lyapunov_exponent, slow.lyapunov_exponent, atol=1e-6)


def test_steps_do_not_depend_on_frames_nor_company():
    flow = lorenz(time_step=0.3, rtol=1e-7)
    states = torch.tensor([[1.0, 1.0, 20.0], [40.0, -40.0, 0.0], [0.0, 0.0, 0.0], [5.0, 5.0, 30.0]])
    frame = torch.eye(3).expand(4, -1, -1).contiguous()
    with torch.no_grad():
        together, pushed = flow.push(states, None, frame)
        torch.testing.assert_close(flow.step(states, None), together, rtol=0, atol=0)
        torch.testing.assert_close(flow.push(states, None, frame[:, :1] + 7)[0], together, rtol=0, atol=0)
        for row in range(4):
            alone, own = flow.push(states[row : row + 1], None, frame[:1])
            torch.testing.assert_close(alone[0], together[row], rtol=1e-11, atol=1e-300)
            torch.testing.assert_close(own[0], pushed[row], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_a_trajectory_that_leaves_the_finite_numbers_ends_alone():
    """ẋ = x² − x is infinite at t = ln(x/(x − 1)); the others go to 0 at the rate −1."""
    flow = lk.Flow(lambda s: s**2 - s, 1, 0.25, lambda s: np.array([[2 * s[0] - 1]]), rtol=1e-8)
    with pytest.warns(lk.DivergenceWarning, match="trajectory 1") as caught, warnings.catch_warnings():
        ds = lk.lyapunov_spectrum(flow, n_steps=8, n_transient=20, initial_state=[[0.5], [2.0], [-0.5]])
    assert ds.divergence_step[1] == 2  # ln 2 = 0.69
    assert not any("stiff" in str(warning.message) for warning in caught)
    np.testing.assert_allclose(ds.lyapunov_exponent.values[[0, 2], 0], -1.0, atol=2e-2)
    alone = spectrum(flow, 8, n_transient=20, initial_state=[[0.5]])
    np.testing.assert_allclose(ds.lyapunov_exponent[0], alone.lyapunov_exponent[0], rtol=1e-12)


@pytest.mark.parametrize("options", [{}, pytest.param({"time_step": 0.5, "rtol": 1e-6}, marks=pytest.mark.slow)])
def test_stiff_fields_are_refused(options):
    flow = van_der_pol(1e4, **options)
    with pytest.raises(ValueError, match=r"is stiff.*Map\(step, jacobian\)"):
        lk.lyapunov_spectrum(flow, n_steps=10)


@pytest.mark.slow
def test_a_field_that_becomes_stiff_ends_with_a_warning():
    """The rate grows like exp(2t): within the limit of steps at first."""
    flow = lk.Flow(
        lambda s: np.array([-(s[1] ** 2) * s[0], s[1]]),
        2,
        1.0,
        lambda s: np.array([[-(s[1] ** 2), -2 * s[0] * s[1]], [0.0, 1.0]]),
        rtol=1e-4,
        initial_state=[1.0, 0.1],
    )
    with pytest.warns() as caught:
        ds = lk.lyapunov_spectrum(flow, n_steps=20)
    assert np.isnan(ds.lyapunov_exponent).all()
    assert any("is stiff, or leaves the finite numbers" in str(warning.message) for warning in caught)


def test_a_jump_is_passed():
    """ẋ = −sign(x − 1) − 2 falls at rate 3, then at 1."""
    flow = lk.Flow(lambda s: -np.sign(s - 1) - 2, 1, 1.0, lambda s: np.zeros((1, 1)), rtol=1e-8)
    state = flow.step(torch.tensor([[2.0]]), None)
    assert float(state) == pytest.approx(1 - (1 - 1 / 3), abs=1e-6)


def test_driven_flow():
    """ẋ = −x + u, u constant in a step."""
    flow = lk.Flow(lambda s, u: -s + u, 1, 0.5, lambda s, u: -np.eye(1), input_size=1, rtol=1e-9)
    state = torch.zeros(1, 1)
    for u in (1.0, -2.0, 0.5):
        expected = u + (float(state) - u) * np.exp(-0.5)
        state = flow.step(state, torch.tensor([[u]]))
        assert float(state) == pytest.approx(expected, abs=1e-9)
    ds = spectrum(flow, 20, inputs=np.ones(1), initial_state=[0.1])
    assert float(ds.lyapunov_exponent[0, 0]) == pytest.approx(-1.0, abs=1e-8)


def test_covariant_vectors_of_a_flow_by_tolerance():
    matrix = np.array([[0.2, 1.0], [0.0, -0.5]])
    flow = lk.Flow(lambda s: matrix @ s, 2, 0.5, lambda s: matrix, rtol=1e-9, initial_state=[1e-6, 1e-6])
    ds = lk.covariant_vectors(flow, n_steps=10, n_transient=60, n_backward_transient=60)
    vectors = ds.covariant_vector.values[0, 5]
    slow = np.array([1.0, -0.7]) / np.hypot(1.0, 0.7)
    np.testing.assert_allclose(np.abs(vectors @ np.array([[1.0, slow[0]], [0.0, slow[1]]])).diagonal(), 1.0, atol=1e-8)


def test_error_of_a_step_is_no_smaller_than_said():
    """The actual error of one step of a nonlinear field is below the tolerance."""
    flow = lorenz(time_step=0.05, rtol=1e-6)
    steps = AdaptiveSteps(flow.field.push, 3, 1e-6, 0.0)
    state = torch.tensor([[3.0, 5.0, 22.0]])
    end, _ = steps.advance(state, None, torch.eye(3)[None], 0.05)
    exact = solve_ivp(
        lambda t, s: flow.field._step.function(s[None])[0], (0, 0.05), state[0], rtol=1e-13, atol=1e-13
    ).y[:, -1]
    assert np.abs(end[0].numpy() / exact - 1).max() < 1e-6


def test_probes():
    np.testing.assert_array_equal(probes(3, 3), np.eye(3))
    np.testing.assert_array_equal(probes(3, 2), np.eye(3)[:2])
    many = probes(41, 40)
    np.testing.assert_allclose(many @ many.T, np.eye(4), atol=1e-12)
    assert not many[:, -1].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lorenz(rtol=1e-3), "rtol must be between 1e-13 and 0.0001, got 0.001"),
        (lambda: lorenz(rtol=0.0), "rtol must be between"),
        (lambda: lorenz(atol=-1.0), "atol must be 0 or positive"),
        (lambda: lorenz(time_step=0.01, atol=1e-9), "goes with rtol="),
        (
            lambda: lk.lyapunov_spectrum(lorenz(atol=1.0), n_steps=10),
            r"atol=1 is not small in comparison with the states, up to 2",
        ),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_description():
    assert str(lorenz(time_step=0.1, rtol=1e-6)) == "field, Dormand–Prince 8(5,3) with time step 0.1, rtol 1e-06"
    assert "Dormand–Prince 8(5,3) with a time step that is chosen before a run, rtol 1e-07, atol 1e-09" in str(
        lorenz(atol=1e-9)
    )
    assert "Runge–Kutta 4 with time step 0.01" in str(lorenz(time_step=0.01))
