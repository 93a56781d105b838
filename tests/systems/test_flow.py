"""Differential equations: a time step that is too long is found, explicit time is right, a step can be chosen."""

import warnings

import numpy as np
import pytest
import torch
from runs import CPU, prepared
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import lyapkit as lk
from lyapkit.systems.step_errors import measured_step, rounded_down


def measured(flow, start, duration, steps_per_stretch=4, dtype=torch.float64):
    """Exponents by a loop of its own, a QR every few steps, through the hooks that the engine calls; and the run."""
    state, run = prepared(flow, start, dtype)
    n_stretches = max(1, round(duration / run.time_step / steps_per_stretch))
    frame = torch.eye(run.state_size, dtype=dtype).expand(len(state), -1, -1).contiguous()
    grown = 0.0
    with torch.no_grad():
        for _ in range(n_stretches):
            state, frame = run.push_along(state, None, frame, steps_per_stretch)
            columns, upper = torch.linalg.qr(frame.mT)
            frame = columns.mT.contiguous()
            grown = grown + upper.diagonal(dim1=-2, dim2=-1).abs().log()
    return (grown / (n_stretches * steps_per_stretch * run.time_step)).numpy(), run


def linear(matrix, time_step):
    matrix = torch.as_tensor(matrix, dtype=torch.float64)
    return lk.Flow(
        lambda s: s @ matrix.mT, len(matrix), time_step, lambda s: matrix.expand(len(s), -1, -1), batched=True
    )


def lorenz(time_step):
    def field(s):
        return np.array([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]])

    def jacobian(s):
        return np.array([[-10, 10, 0], [28 - s[2], -1, -s[0]], [s[1], s[0], -8 / 3]])

    return lk.Flow(field, 3, time_step, jacobian)


def van_der_pol(mu, time_step):
    def field(s):
        x, y = s.unbind(-1)
        return torch.stack([y, mu * (1 - x**2) * y - x], dim=-1)

    def jacobian(s):
        x, y = s.unbind(-1)
        zero = torch.zeros_like(x)
        rows = [zero, zero + 1, -2 * mu * x * y - 1, mu * (1 - x**2)]
        return torch.stack(rows, dim=-1).unflatten(-1, (2, 2))

    return lk.Flow(field, 2, time_step, jacobian, batched=True)


# ------------------------------------------------------------------------------------------ time step


@pytest.mark.parametrize(("time_step", "is_too_long"), [(0.01, False), (0.02, False), (0.07, True), (0.1, True)])
def test_lorenz(time_step, is_too_long):
    """The sum of the exponents is −41/3 exactly; the largest in absolute value is −14.57."""
    exponents, run = measured(lorenz(time_step), [1.0, 1.0, 20.0], 20.0)
    off = abs(exponents.sum() + 41 / 3)
    findings = run.findings()
    assert len(findings) == is_too_long
    assert (off > 0.02 * 14.57) == is_too_long
    if is_too_long:
        assert f"time_step={time_step} is too long" in findings[0]
        advised = float(findings[0].rsplit("time_step=", 1)[1].split()[0])
        assert not measured(lorenz(advised), [1.0, 1.0, 20.0], 20.0)[1].findings()


@pytest.mark.parametrize("matrix", [[[-25.0, 0.0], [0.0, -0.1]], [[2.0, 1.0], [0.0, 1.0]], [[-0.1, 3.0], [-3.0, -0.1]]])
@pytest.mark.parametrize("product", [0.01, 0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 2.5])
def test_linear_fields(matrix, product):
    """Real parts of eigenvalues are known: nothing off by 2 % of the largest passes, nothing within 0.1 % is named."""
    values = np.linalg.eigvals(matrix)
    time_step = float(product / np.abs(values).max())
    exponents, run = measured(linear(matrix, time_step), [1.0, 1.5], 60 * time_step, 1)
    # the step's own amplification, whose logarithm a long run converges to
    z = time_step * values
    amplified = np.log(np.abs(1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24)) / time_step
    off = np.abs(amplified - values.real).max() / np.abs(values.real).max()
    findings = run.findings()
    if off > 0.02:
        assert len(findings) == 1
        advised = float(findings[0].rsplit("time_step=", 1)[1].split()[0])
        assert not measured(linear(matrix, advised), [1.0, 1.5], 60 * time_step, 1)[1].findings()
    if off < 1e-3:
        assert not findings
    if matrix[0][1] == 0:
        np.testing.assert_allclose(np.sort(exponents[0]), np.sort(amplified), atol=1e-9)


@pytest.mark.parametrize("time_step", [0.01, 0.1, 0.5, 1.0, 2.0])
def test_oscillator_that_should_not_decay(time_step):
    """Exponents 0; the step damps by (ωh)⁵ω/144 each. What counts as off is a thousandth of ω."""
    _, run = measured(linear([[0.0, 1.0], [-1.0, 0.0]], time_step), [1.0, 0.0], 40 * time_step)
    z = 1j * time_step
    off = abs(np.log(abs(1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24))) / time_step
    assert bool(run.findings()) == (off > 1e-4)


def test_classical_flows_are_integrated_finely_enough():
    for flow in (lk.classical.lorenz(), lk.classical.rossler()):
        start = flow.initial_state(2, torch.Generator().manual_seed(0))
        assert not measured(flow, start, 30.0)[1].findings()


@pytest.mark.parametrize(("mu", "good", "bad"), [(1.0, 0.05, 0.5), (5.0, 0.02, 0.1)])
def test_relaxation_oscillations(mu, good, bad):
    assert not measured(van_der_pol(mu, good), [2.0, 0.0], 40.0)[1].findings()
    assert measured(van_der_pol(mu, bad), [2.0, 0.0], 40.0)[1].findings()


@pytest.mark.slow
def test_stiff_relaxation_oscillations():
    """For mu = 100 the explicit step is stable up to 2.78/300; the first jump comes after 81 units of time."""
    assert not measured(van_der_pol(100.0, 0.001), [2.0, 0.0], 85.0)[1].findings()
    exponents, run = measured(van_der_pol(100.0, 0.008), [2.0, 0.0], 85.0)
    assert not np.isfinite(exponents).all() or run.findings()


def bursts(time_step, rate=60.0, width=0.05):
    """θ̇ = 1, ẏ = −y (0.05 + rate exp(−(2 sin(θ/2)/width)²)): in a few steps of each turn y is damped hard."""

    def damping(angle):
        return 0.05 + rate * torch.exp(-((2 * torch.sin(angle / 2) / width) ** 2))

    def field(s):
        angle, y = s.unbind(-1)
        return torch.stack([torch.ones_like(y), -y * damping(angle)], dim=-1)

    def jacobian(s):
        angle, y = s.unbind(-1)
        slope = torch.sin(angle) * 2 / width**2 * y * (damping(angle) - 0.05)
        zero = torch.zeros_like(y)
        return torch.stack([zero, zero, slope, -damping(angle)], dim=-1).unflatten(-1, (2, 2))

    return lk.Flow(field, 2, time_step, jacobian, batched=True)


@pytest.mark.parametrize("n_steps_per_turn", [40, 64, 80, 100, 160, 400, 1500])
def test_rare_bad_steps_are_found(n_steps_per_turn):
    """The damping's mean over a turn is known by quadrature."""
    angles = np.linspace(-np.pi, np.pi, 200_001)[:-1]
    right = -0.05 - 60.0 * np.mean(np.exp(-((2 * np.sin(angles / 2) / 0.05) ** 2)))
    n_turns = 10 if n_steps_per_turn < 1000 else 3
    flow = bursts(2 * np.pi / n_steps_per_turn)
    exponents, run = measured(flow, [-np.pi + 0.01, 1.0], n_turns * 2 * np.pi, 1)
    off = abs(exponents.min() - right) / abs(right)
    if off > 0.02:
        assert run.findings(), (off, run._errors.verdict())
    if off < 1e-3:
        assert not run.findings(), (off, run._errors.verdict())


def test_measured_error_of_a_step_is_that_of_the_exponential():
    matrix = torch.tensor([[-3.0, 1.0], [0.5, -1.0]])
    flow = linear(matrix, 0.1)
    state, frame = torch.tensor([[1.0, 2.0]]), torch.eye(2)[None]
    measurement = measured_step(flow._stages, None, state, None, frame, 0.1)
    exact = torch.as_tensor(expm(0.1 * matrix.numpy()))
    _, pushed = flow.push(state, None, frame)
    logs = [torch.linalg.qr(m)[1].diagonal().abs().log() for m in (pushed[0].mT, exact)]
    np.testing.assert_allclose(measurement.error[0], logs[0] - logs[1], rtol=0.05)
    off = torch.linalg.vector_norm(flow.step(state, None)[0] - exact @ state[0])
    np.testing.assert_allclose(measurement.state_error[0], off, rtol=0.05)


def test_divergence_hint_names_the_step():
    assert linear([[1.0]], 0.1).divergence_hint == "a smaller time_step than 0.1 may be needed"
    assert linear([[1.0]], None).divergence_hint == ""


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0317, 0.03), (1.0, 1.0), (0.9999, 0.8), (123.0, 120.0), (1e-5, 1e-5)]
)
def test_round_numbers(value, expected):
    assert rounded_down(value) == expected


# ------------------------------------------------------------------------------------------ chosen steps


@pytest.mark.parametrize(
    ("make", "start"),
    [
        (lorenz, [1.0, 1.0, 20.0]),
        (lambda h: van_der_pol(5.0, h), [2.0, 0.0]),
        (lambda h: linear([[-25.0, 0.0], [0.0, -0.1]], h), [1.0, 1.0]),
        (lambda h: linear([[0.0, 1.0], [-1.0, 0.0]], h), [1.0, 1.0]),
        (lambda h: linear([[0.0, 0.0], [0.0, 0.0]], h), [1.0, 1.0]),
    ],
)
def test_chosen_step_is_fine_enough(make, start):
    exponents, run = measured(make(None), start, 15.0)
    assert run.time_step > 0
    assert not run.findings()
    assert f"time step {run.time_step:g}, chosen by a pilot run" in str(run)
    assert run.converted(torch.float64, CPU).time_step == run.time_step
    finer, _ = measured(make(run.time_step / 4), start, 15.0)
    if start != [1.0, 1.0, 20.0]:  # chaotic orbits differ
        np.testing.assert_allclose(exponents, finer, atol=2e-3 * max(1.0, np.abs(finer).max()))


def test_chosen_step_is_not_wasteful():
    _, run = measured(lorenz(None), [1.0, 1.0, 20.0], 1.0)
    assert 0.01 <= run.time_step <= 0.08


def test_stiff_fields_are_refused():
    with pytest.raises(ValueError, match=r"is stiff: .*time step of .*give time_step="):
        van_der_pol(1e4, None).prepared(torch.tensor([[2.0, 0.0]]), None)
    with pytest.raises(ValueError, match="no reasonable time step"):
        lk.Flow(lambda s: s**2, 1, batched=True).prepared(torch.tensor([[1.0]]), None)


def test_without_a_step_only_runs_know_one():
    flow = lorenz(None)
    assert "chosen before a run" in str(flow)
    with pytest.raises(ValueError, match="no time step yet"):
        flow.step(torch.ones(1, 3), None)
    driven = lk.Flow(lambda s, x: -s + x, 1, input_size=1)
    with pytest.raises(ValueError, match="needs time_step="):
        driven.prepared(torch.ones(1, 1), torch.ones(1, 5, 1))


# ------------------------------------------------------------------------------------------ explicit time


def forced(time_step, **options):
    """ẋ = v, v̇ = −x − 0.4 v + cos 2t: exponents −0.2, −0.2 (a pair, ω² = 0.96), and 0 of the time."""
    return lk.Flow(
        lambda t, s: torch.stack([s[1], -s[0] - 0.4 * s[1] + torch.cos(2 * t)]),
        2,
        time_step,
        time_dependent=True,
        **options,
    )


def test_forced_oscillator_has_its_exponents_and_that_of_time():
    turn = np.pi / np.sqrt(0.96)
    exponents, run = measured(forced(turn / 100), [0.3, 0.1, 0.0], 2 * turn)
    assert run.state_size == 3
    np.testing.assert_allclose(np.sort(exponents[0]), [-0.2, -0.2, 0.0], atol=1e-6)
    assert not run.findings()


def pendulum_reference(start, t0, duration):
    """State and tangent map of the driven pendulum θ̈ = −sin θ − 0.5 θ̇ + 1.2 cos(2t/3), by scipy at 1e-12."""

    def field(t, y):
        tangent = y[2:].reshape(2, 2)
        jacobian = np.array([[0.0, 1.0], [-np.cos(y[0]), -0.5]])
        return [y[1], -np.sin(y[0]) - 0.5 * y[1] + 1.2 * np.cos(2 * t / 3), *(jacobian @ tangent).ravel()]

    solution = solve_ivp(field, (t0, t0 + duration), [*start, 1, 0, 0, 1], rtol=1e-12, atol=1e-12, method="DOP853").y[
        :, -1
    ]
    return solution[:2], solution[2:].reshape(2, 2)


def torch_pendulum(t, s):
    return torch.stack([s[1], -torch.sin(s[0]) - 0.5 * s[1] + 1.2 * torch.cos(2 * t / 3)])


def torch_pendulum_batched(t, s):
    return torch.stack([s[:, 1], -torch.sin(s[:, 0]) - 0.5 * s[:, 1] + 1.2 * torch.cos(2 * t / 3)], dim=-1)


def numpy_pendulum(t, s):
    return np.array([s[1], -np.sin(s[0]) - 0.5 * s[1] + 1.2 * np.cos(2 * t / 3)])


def pendulum_jacobian(t, s):
    return np.array([[0, 1], [-np.cos(s[0]), -0.5]])


@pytest.mark.parametrize(
    "pendulum",
    [
        lk.Flow(torch_pendulum, 2, 0.01, time_dependent=True),
        lk.Flow(torch_pendulum_batched, 2, 0.01, time_dependent=True, batched=True),
        lk.Flow(numpy_pendulum, 2, 0.01, pendulum_jacobian, time_dependent=True),
    ],
    ids=["torch", "batched", "numpy"],
)
def test_driven_pendulum(pendulum):
    """Every trajectory has its own time, whatever stretches and subsets it is pushed in."""
    starts = torch.tensor([[0.2, 0.0, 0.0], [1.0, -0.5, 2.0], [0.2, 0.0, 5.0]])
    run = pendulum.prepared(starts, None)
    frame = torch.eye(3).expand(3, -1, -1).contiguous()
    with torch.no_grad():
        state, tangent = run.push_along(starts, None, frame, 70)
        run.push_along(state, None, tangent, 30)  # an attempt that is rolled back
        for trajectory in (2, 0, 1):
            one = slice(trajectory, trajectory + 1)
            end, pushed = run.push_along(state[one], None, tangent[one], 30)
            position, jacobian = pendulum_reference(starts[trajectory, :2], float(starts[trajectory, 2]), 1.0)
            np.testing.assert_allclose(end[0, :2], position, atol=1e-8)
            np.testing.assert_allclose(end[0, 2], starts[trajectory, 2] + 1.0, atol=1e-12)
            np.testing.assert_allclose(pushed[0, :2, :2].mT, jacobian, atol=1e-8)
            np.testing.assert_array_equal(pushed[0, :2, 2], 0.0)
            later, _ = pendulum_reference(starts[trajectory, :2], float(starts[trajectory, 2]) + 1e-5, 1.0)
            sooner, _ = pendulum_reference(starts[trajectory, :2], float(starts[trajectory, 2]) - 1e-5, 1.0)
            np.testing.assert_allclose(pushed[0, 2, :2], (later - sooner) / 2e-5, atol=1e-6)
    assert not run.findings()


def test_starts_without_a_time_begin_at_zero():
    flow = forced(0.1, initial_state=[1.0, 2.0])
    np.testing.assert_array_equal(flow.initial_state(2, torch.Generator()), [[1.0, 2.0, 0.0]] * 2)
    flow = forced(0.1, initial_state=[1.0, 2.0, 7.0])
    np.testing.assert_array_equal(flow.initial_state(1, torch.Generator()), [[1.0, 2.0, 7.0]])
    assert "the time as last state variable" in str(flow)


def test_time_with_inputs():
    """ẋ = −x + u + t, u constant in a step: x(t) known."""
    flow = lk.Flow(lambda t, s, x: -s + x + t, 1, 0.01, time_dependent=True, input_size=1, initial_state=[0.0])
    state = torch.zeros(1, 2)
    with torch.no_grad():
        for _ in range(100):
            state = flow.step(state, torch.tensor([[0.5]]))
    assert float(state[0, 0]) == pytest.approx(0.5 * (1 - np.exp(-1)) + (1 - 1 + np.exp(-1)), abs=1e-9)


@pytest.mark.parametrize("options", [{}, {"time_step": 0.02}], ids=["adaptive", "fixed"])
@pytest.mark.parametrize("compile", [True, False])
def test_late_times_are_computed_or_refused(options, compile):
    """Forced oscillators a million and 10¹⁰ periods on: their phase is told, or it is said that it cannot be."""
    late = 2 * np.pi * round(1e6 / (2 * np.pi))
    exponents = {}
    for start in (0.0, late):
        flow = lk.Flow(
            lambda t, s: torch.stack([s[1], -0.1 * s[1] - s[0] + 0.3 * torch.cos(t)]), 2, time_dependent=True, **options
        )
        ds = lk.lyapunov_spectrum(flow, initial_state=[0.1, 0.2, start], n_steps=1100, compile=compile)
        exponents[start] = ds.lyapunov_exponent.values[0]
    np.testing.assert_allclose(exponents[late], exponents[0.0], atol=1e-6)
    if options:
        with pytest.warns(lk.ReliabilityWarning, match="resolves the time to"):
            lk.lyapunov_spectrum(flow, initial_state=[0.1, 0.2, 1e12], n_steps=1100, compile=compile)
    else:
        with pytest.raises(ValueError, match="too coarsely for steps that are adapted to rtol"):
            lk.lyapunov_spectrum(flow, initial_state=[0.1, 0.2, 1e9], n_steps=1100, compile=compile)


def test_time_that_float32_cannot_resolve_is_named():
    _, run = measured(forced(0.01), [0.3, 0.1, 10_000.0], 0.4, dtype=torch.float32)
    assert any("resolves the time" in finding for finding in run.findings())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lk.Flow(lambda t, y: -y, 2, 0.1), r"takes \(t, y\).*time_dependent=True"),
        (lambda: lk.Flow(lambda y: -y, 2, 0.1, time_dependent=True), r"called as vector_field\(time, state\)"),
        (lambda: lk.Flow(lambda y, u: -y, 2, 0.1), r"input_size="),
        (lambda: lk.Flow(lambda y: -y, 2, float("nan")), "time_step must be positive"),
        (
            lambda: lk.Flow(lambda t, y: y[:1], 2, 0.1, time_dependent=True).step(torch.ones(1, 3), None),
            r"vector_field returned shape \(1,\), expected \(2,\)",
        ),
        (
            lambda: lk.Flow(lambda t, y: -y, 2, 0.1, time_dependent=True).split_into_real_parts(),
            "a time, which is real",
        ),
        (
            lambda: lorenz_with_wrong_jacobian().prepared(torch.tensor([[1.0, 2.0, 20.0]]), None),
            "jacobian is not the derivative of vector_field",
        ),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def lorenz_with_wrong_jacobian():
    def jacobian(s):
        return np.array([[-10, 10, 0], [28 - s[2], -1, -s[0]], [s[1], s[0], -8 / 3]]).T

    return lk.Flow(
        lambda s: np.array([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]]),
        3,
        0.01,
        jacobian,
    )


# ------------------------------------------------------------------------------------------ others


def test_complex_linear_flow():
    """ż = (−0.3 + 2i) z rotates and shrinks: −0.3 twice."""
    exponents, run = measured(lk.Flow(lambda z: (-0.3 + 2j) * z, 1, 0.01), np.array([1.0 + 0.5j]), 3.0)
    np.testing.assert_allclose(exponents, [[-0.3] * 2], atol=1e-8)
    assert not run.findings()


def test_kinks_on_a_flows_way_do_not_matter():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, run = measured(lk.Flow(lambda s: -torch.abs(s) - s, 1, 0.01), [[1.0]], 1.0)
    assert not run.findings()


def test_positional_arguments_as_before():
    flow = lk.Flow(lambda s: -s, 1, 0.01, lambda s: np.array([[-1.0]]))
    assert flow.time_step == 0.01
    assert repr(flow) == "Flow(lambda, state_size=1, jacobian given, time_step=0.01)"
    np.testing.assert_allclose(measured(flow, [1.0], 1.0)[0], [[-1.0]], atol=1e-8)
