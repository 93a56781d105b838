"""What a user's function does can never make a number wrong without a word: copied, converted, named or refused."""

import cmath
import math
import warnings

import numpy as np
import pytest
import torch
from runs import CPU, prepared
from torch import nn

import lyapkit as lk


def measured(system, start, n_steps, n_transient=0, dtype=torch.float64):
    """Exponents by a loop of its own, one QR per step, through the hooks that the engine calls; and the findings."""
    state, run = prepared(system, start, dtype)
    frame = torch.eye(run.state_size, dtype=dtype).expand(len(state), -1, -1).contiguous()
    grown = 0.0
    with torch.no_grad():
        for time in range(n_transient + n_steps):
            state, frame = run.push_along(state, None, frame, 1)
            columns, upper = torch.linalg.qr(frame.mT)
            frame = columns.mT.contiguous()
            if time >= n_transient:
                grown = grown + upper.diagonal(dim1=-2, dim2=-1).abs().log()
    return (grown / (n_steps * run.time_step)).numpy(), run.findings()


def henon_exponents(start, n_steps):
    """Exponents of the Hénon map in plain NumPy."""
    x, y = start
    frame, grown = np.eye(2), np.zeros(2)
    for _ in range(n_steps):
        jacobian = np.array([[-2.8 * x, 1.0], [0.3, 0.0]])
        frame, upper = np.linalg.qr(jacobian @ frame)
        grown += np.log(np.abs(np.diag(upper)))
        x, y = 1 - 1.4 * x**2 + y, 0.3 * x
    return grown / n_steps


def henon_jacobian(s):
    return np.array([[-2.8 * s[0], 1], [0.3, 0]])


def henon(s):
    return np.array([1 - 1.4 * s[0] ** 2 + s[1], 0.3 * s[0]])


def henon_into_argument(s):
    x = s[0]
    s[0] = 1 - 1.4 * x**2 + s[1]
    s[1] = 0.3 * x
    return s


def henon_into_tensor(s):
    x = s[0].clone()
    s[0] = 1 - 1.4 * x**2 + s[1]
    s[1] = 0.3 * x
    return s


BUFFER = np.zeros(2)


def henon_into_buffer(s):
    BUFFER[:] = 1 - 1.4 * s[0] ** 2 + s[1], 0.3 * s[0]
    return BUFFER


@pytest.mark.parametrize(
    "system",
    [
        lk.Map(henon_into_argument, 2, henon_jacobian),
        lk.Map(henon_into_tensor, 2),
        lk.Map(henon_into_buffer, 2, henon_jacobian),
        lk.Map(lambda s: [1 - 1.4 * s[0] ** 2 + s[1], 0.3 * s[0]], 2),
    ],
    ids=["argument", "tensor", "buffer", "list"],
)
def test_functions_that_write_into_argument_or_buffer(system):
    starts = [[0.1, 0.1], [0.2, 0.1], [-0.1, 0.05]]
    exponents, findings = measured(system, starts, 60)  # so short that rounding has no time to grow
    np.testing.assert_allclose(exponents, [henon_exponents(start, 60) for start in starts], atol=1e-6)
    assert not findings


def test_function_that_gives_other_numbers_for_tensors_is_differentiated_as_numpy_calls_it():
    exponents, findings = measured(lk.Map(henon_into_argument, 2), [0.1, 0.1], 60)
    np.testing.assert_allclose(exponents, [henon_exponents([0.1, 0.1], 60)], atol=1e-6)
    assert not findings


@pytest.mark.parametrize("values", [np.array([1, 2]), torch.tensor([1, 2]), np.array([True, False])])
def test_whole_numbers_are_refused(values):
    with pytest.raises(ValueError, match=r"step returned (int64|bool) values, expected floating-point"):
        measured(lk.Map(lambda s: values, 2, lambda s: np.zeros((2, 2))), [0.1, 0.1], 5)


def test_whole_matrices_are_exact():
    system = lk.Map(lambda s: np.array([2 * s[0] + s[1], s[0] + s[1]]) % 1, 2, lambda s: np.array([[2, 1], [1, 1]]))
    golden = np.log((3 + np.sqrt(5)) / 2)
    np.testing.assert_allclose(measured(system, [0.3, 0.4], 200, 50)[0], [[golden, -golden]], atol=1e-12)


@pytest.mark.parametrize(
    "system",
    [
        lk.Map(lambda s: s.float() / 2, 2),
        lk.Map(lambda s: (np.tanh(s) / 2).astype(np.float32), 2, lambda s: np.diag(0.5 / np.cosh(s) ** 2)),
    ],
)
def test_lost_digits_are_named(system):
    exponents, findings = measured(system, [1e-4, 1e-4], 20)
    np.testing.assert_allclose(exponents, [[-np.log(2)] * 2], atol=1e-6)
    assert len(findings) == 1
    assert "step returned float32 numbers in a run in float64" in findings[0]


def test_float32_constants_are_used_in_float64():
    matrix = torch.tensor([[0.9, 0.2], [0.0, 0.5]], dtype=torch.float32)
    exponents, findings = measured(lk.Map(lambda s: matrix @ s, 2), [0.1, 0.2], 100)
    np.testing.assert_allclose(exponents, [np.log(matrix.diagonal().double().numpy())], atol=1e-14)
    assert not findings


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: lambda s: net(s)], ids=["module", "closure"])
def test_float32_module(wrap):
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).float()
    first, second = net[0], net[2]
    exponents, findings = measured(lk.Map(wrap(net), 2), [0.1, 0.2], 30)
    state, frame, grown = np.array([0.1, 0.2]), np.eye(2), np.zeros(2)
    w, b, v, c = (p.detach().double().numpy() for p in (first.weight, first.bias, second.weight, second.bias))
    for _ in range(30):
        hidden = np.tanh(w @ state + b)
        frame, upper = np.linalg.qr(v @ np.diag(1 - hidden**2) @ w @ frame)
        grown += np.log(np.abs(np.diag(upper)))
        state = v @ hidden + c
    np.testing.assert_allclose(exponents[0], grown / 30, atol=1e-10)
    assert not findings
    assert net[0].weight.dtype == torch.float32


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_new_tensors_have_the_runs_dtype(default):
    def swap(u):
        d = torch.zeros(2)
        d[0] = 0.5 * u[1]
        d[1] = u[0]
        return d

    torch.set_default_dtype(default)
    exponents, findings = measured(lk.Map(swap, 2), [0.1, 0.2], 20)
    np.testing.assert_allclose(exponents, [[-np.log(2) / 2] * 2], atol=1e-14)
    assert not findings
    assert torch.get_default_dtype() == default


def test_python_if_on_a_state():
    """vmap does not allow it; trajectory by trajectory it does. The tent map's exponent is ln mu on every orbit."""
    system = lk.Map(lambda s: 1.9 * s if s[0] < 0.5 else 1.9 - 1.9 * s, 1)
    exponents, findings = measured(system, [[0.1234567], [0.7]], 100)
    np.testing.assert_allclose(exponents, np.log(1.9), atol=1e-13)
    assert not findings


def _counting():
    calls = [0]

    def step(s):
        calls[0] += 1
        return 0.5 * s + 0.01 * (calls[0] % 2)

    return step


@pytest.mark.parametrize(
    "step",
    [
        lambda s: torch.tanh(s + 0.1 * torch.randn(2)),
        lambda s: 0.5 * s + 0.1 * torch.rand_like(s),
        lambda s: 0.5 * s + 0.1 * np.random.default_rng().random(2),
        nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)),
        _counting(),
    ],
    ids=["randn", "rand_like", "numpy", "dropout", "counter"],
)
def test_two_calls_that_differ_are_refused(step):
    with pytest.raises(ValueError, match=r"step is not a function of its arguments.*eval\(\)"):
        measured(lk.Map(step, 2, lambda s: 0.5 * np.eye(2)), [[0.1, 0.2], [0.3, 0.4]], 5)


@pytest.mark.parametrize(
    "step",
    [
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)),
        lambda s: 0.9 * torch.tanh(s) + 0.1 * s.mean(0),
        lambda s: torch.tanh(s + 0.1 * s.roll(1, 0)),
        lambda s: 0.5 * s + 0.1 * torch.cat([torch.zeros_like(s[:1]), s[:-1].sin()]),  # each by the one before it
    ],
    ids=["batch norm", "mean", "ring", "chain"],
)
@pytest.mark.parametrize("start", [[[0.1, 0.2], [0.3, 0.4], [0.0, 1.0]], [[0.1, 0.2]]], ids=["three", "one"])
@pytest.mark.parametrize("kind", [lk.Map, lk.Flow])
def test_functions_that_mix_trajectories_are_refused(step, start, kind):
    options = {} if kind is lk.Map else {"time_step": 0.1}
    with pytest.raises(
        ValueError, match=r"mixes trajectories: what it returns for the state of one|Expected more than 1"
    ):
        measured(kind(step, 2, batched=True, **options), start, 20)


def test_loops_until_all_have_converged_are_no_mixture():
    """Here of an implicit step y = x/2 + sin(y)/3: how often it is iterated depends on the slowest of all."""

    def step(s):
        y, before = s.clone(), torch.full_like(s, torch.inf)
        while bool(((y - before).abs() > 1e-8).any()):
            y, before = s / 2 + y.sin() / 3, y
        return y

    def jacobian(s):
        return (0.5 / (1 - step(s).cos() / 3))[:, :, None]

    grown, findings = measured(lk.Map(step, 1, jacobian, batched=True), [[0.1], [2.0], [-3.0]], 400)
    assert not findings
    np.testing.assert_allclose(grown, np.log(0.75), atol=0.02)


def test_rows_may_be_told_apart_by_their_place():
    """As where every trajectory has a parameter of its own."""
    rates = torch.linspace(0.2, 0.8, 16)[:, None]

    def step(s):
        return rates[: len(s)] * s

    grown, _ = measured(lk.Map(step, 1, batched=True), [[0.1], [0.2], [0.3]], 5)
    np.testing.assert_allclose(grown, np.log(rates[:3].numpy()), rtol=1e-12)


def test_a_change_during_the_run_is_found():
    calls = [0]

    def step(s):
        calls[0] += 1
        return 0.5 * s + 0.01 * (calls[0] > 60)

    _, findings = measured(lk.Map(step, 2, lambda s: 0.5 * np.eye(2)), [0.1, 0.2], 100)
    assert len(findings) == 1
    assert "after the run: step is not a function" in findings[0]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda s: torch.ones(3, 3) @ s, r"failed on arguments of shape \(2,\): size mismatch"),
        (lambda s: torch.stack([torch.sin(s[0]), 1.0]), r"expected Tensor as element 1.*return \[a, 1.0\]"),
        (lambda s: torch.stack([s[0] + math.sin(s[1]), s[1]]), r"leaves torch by __float__.*use torch's"),
        (lambda s: torch.as_tensor(np.sin(s.numpy())), r"give jacobian=.*Can't call numpy\(\) on Tensor"),
        (lambda s: torch.as_tensor(s.numpy()[[0, 7]]), "index 7 is out of bounds"),
        (lambda s: s * s.detach(), r"cannot be differentiated automatically: the derivative is not that"),
        (lambda s: s * 1j, "returned complex numbers for a real state.*complex initial_state"),
        (lambda s: np.array([s[0], s[5]]), "index 5 is out of bounds"),
        (lambda s: {}["a"], "failed.*KeyError 'a'"),
        (lambda s: None, "returned None: is there a return statement"),
    ],
)
def test_what_is_wrong_with_a_function_is_said(step, message):
    with pytest.raises(ValueError, match=message):
        measured(lk.Map(step, 2), [0.1, 0.2], 5)


def test_arguments_are_checked_at_once():
    with pytest.raises(ValueError, match=r"step takes \(t, y\), but it is called as step\(state\): .*Flow"):
        lk.Map(lambda t, y: -y, 2)
    with pytest.raises(ValueError, match=r"called as step\(state, input\)"):
        lk.Map(lambda s: s, 2, input_size=1)
    with pytest.raises(ValueError, match=r"jacobian takes \(s, x\)"):
        lk.Map(lambda s: s, 2, lambda s, x: s)


def test_functions_of_any_exception_and_signature():
    assert str(lk.Map(np.tanh, 2)) == "tanh"
    system = lk.Map(lambda s, scale=0.5: scale * s, 2)
    np.testing.assert_allclose(measured(system, [0.1, 0.2], 5)[0], np.log(0.5))


# ------------------------------------------------------------------------------------------ complex states

C = -0.1 + 0.2j
FIXED_POINT_RATE = math.log(abs(1 - cmath.sqrt(1 - 4 * C)))  # ln|2 z*| at z* = (1 − √(1 − 4c))/2


@pytest.mark.parametrize("jacobian", [None, lambda z: np.array([[2 * z[0]]])])
def test_complex_quadratic_map(jacobian):
    step = (lambda z: z**2 + C) if jacobian is None else (lambda z: np.square(z) + C)
    exponents, findings = measured(lk.Map(step, 1, jacobian), np.array([0.1 + 0.1j]), 300, 300)
    np.testing.assert_allclose(exponents, [[FIXED_POINT_RATE] * 2], atol=1e-9)
    assert not findings


def test_complex_map_that_is_not_holomorphic():
    """z ← 0.5 z̄ + 0.2 z is x ← 0.7 x, y ← −0.3 y."""
    for batched in (False, True):
        system = lk.Map(lambda z: 0.5 * torch.conj(z) + 0.2 * z, 1, batched=batched)
        exponents, _ = measured(system, np.array([0.1 + 0.1j]), 50)
        np.testing.assert_allclose(exponents, [np.log([0.7, 0.3])], atol=1e-12)

    def step(z):
        return 0.5 * np.conj(z) + 0.2 * z

    real = lk.Map(step, 1, lambda z: np.array([[0.7, 0.0], [0.0, -0.3]]))
    np.testing.assert_allclose(measured(real, np.array([0.1 + 0.1j]), 50)[0], [np.log([0.7, 0.3])], atol=1e-12)
    with pytest.raises(ValueError, match="holomorphic"):
        measured(lk.Map(step, 1, lambda z: np.array([[0.2]])), np.array([0.1 + 0.1j]), 50)


def test_complex_start_belongs_to_the_run():
    for start in (np.array([0.1 + 0.1j]), lambda n, generator: torch.full((n, 1), 0.1 + 0.1j)):
        with pytest.raises(ValueError, match="give it to lyapunov_spectrum, as initial_state="):
            lk.lyapunov_spectrum(lk.Map(lambda z: z**2, 1, initial_state=start), n_steps=5)
    ds = lk.lyapunov_spectrum(lk.Map(lambda z: z**2 + C, 1), initial_state=[0.1 + 0.1j], n_steps=300, n_transient=300)
    np.testing.assert_allclose(ds.lyapunov_exponent, [[FIXED_POINT_RATE] * 2], atol=1e-9)


def test_complex_matrix():
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(3, 3)) + 1j * generator.normal(size=(3, 3))
    system = lk.Map(lambda z: 0.1 * matrix @ z, 3, lambda z: 0.1 * matrix)
    exponents, _ = measured(system, np.ones(3) * (1 + 0j), 300, 300)
    moduli = np.sort(np.log(0.1 * np.abs(np.linalg.eigvals(matrix))))[::-1]
    np.testing.assert_allclose(exponents[0], np.repeat(moduli, 2), atol=1e-2)
    np.testing.assert_allclose(exponents[0][::2] + exponents[0][1::2], 2 * moduli, atol=1e-4)


# ------------------------------------------------------------------------------------------ Jacobians


@pytest.mark.parametrize(
    ("jacobian", "message"),
    [
        (lambda s: henon_jacobian(s).T, r"entry \[\d, \d\] is .*, differences give .*transpose would agree"),
        (lambda s: -henon_jacobian(s), "opposite sign would agree"),
        (lambda s: np.array([[-2.79 * s[0], 1], [0.3, 0]]), r"entry \[0, 0\] is .*, differences give"),
        (lambda s: np.array([[-2.8 * s[0], 1], [0.301, 0]]), r"entry \[1, 0\] is 0.301, differences give 0.3"),
    ],
)
def test_wrong_jacobian_is_refused(jacobian, message):
    for start in ([0.1, 0.1], [0.0, 0.0]):
        with pytest.raises(ValueError, match="jacobian is not the derivative of step.*" + message):
            measured(lk.Map(henon, 2, jacobian), start, 5)
        with pytest.raises(ValueError, match="not the derivative"):
            measured(lk.Map(henon, 2, jacobian), start, 5, dtype=torch.float32)


def test_jacobian_of_variables_of_different_sizes():
    def step(s):
        return np.array([1 - 1.4 * s[0] ** 2 + 1e6 * s[1], 0.3e-6 * s[0]])

    measured(lk.Map(step, 2, lambda s: np.array([[-2.8 * s[0], 1e6], [0.3e-6, 0.0]])), [0.1, 1e-7], 5)
    with pytest.raises(ValueError, match=r"entry \[1, 0\] is 3.1e-07, differences give 3e-07"):
        measured(lk.Map(step, 2, lambda s: np.array([[-2.8 * s[0], 1e6], [0.31e-6, 0.0]])), [0.1, 1e-7], 5)


def test_loop_that_ends_at_once_where_it_started_is_named():
    """Near the fixed point it takes few iterations, at it one, whose derivative is 3/4; it would converge to 1/2."""

    def step(s):
        z = s.clone()
        while True:
            following = 0.5 * z + 0.25 * s + 0.1
            if float((following - z).abs().max()) < 1e-12:
                return following
            z = following

    _, findings = measured(lk.Map(step, 1), [0.3], 100)
    assert len(findings) == 1
    assert "on the way, " in findings[0]
    assert "differences give 0.5000" in findings[0]


def test_jacobian_that_is_wrong_later_on_the_way_is_named():
    def jacobian(s):
        return np.array([[1.0, 0.0], [0.0, 0.9 if s[0] < 40 else 0.5]])

    _, findings = measured(lk.Map(lambda s: np.array([s[0] + 1, 0.9 * s[1]]), 2, jacobian), [0.0, 1.0], 100)
    assert len(findings) == 1
    assert "on the way, " in findings[0]
    assert "entry [1, 1] is 0.5, differences give 0.9" in findings[0]


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_right_jacobian_at_any_scale(scale):
    system = lk.Map(lambda s: scale * henon(s / scale), 2, lambda s: henon_jacobian(s / scale))
    measured(system, [0.1 * scale, 0.1 * scale], 20)
    measured(system, [0.1 * scale, 0.1 * scale], 20, dtype=torch.float32)


@pytest.mark.parametrize("start", [[0.0, 0.0], [0.5, 0.5], [0.25, 0.0], [0.1234, 0.7]])
def test_right_jacobian_at_kinks_and_jumps(start):
    for step, jacobian in (
        (lambda s: (np.array([[2, 1], [1, 1]]) @ s) % 1, lambda s: np.array([[2, 1], [1, 1]])),
        (lambda s: np.abs(1 - 2 * s), lambda s: np.diag(np.where(s < 0.5, -2.0, 2.0))),
        (
            lambda s: np.array([2 * s[0] % 1, 0.4 * s[1] + (0.6 if s[0] >= 0.5 else 0.0)]),
            lambda s: np.diag([2.0, 0.4]),
        ),
        (lambda s: 0.5 * np.maximum(s, 0), lambda s: np.diag(np.where(s > 0, 0.5, 0.0))),
    ):
        for dtype in (torch.float64, torch.float32):
            run = lk.Map(step, 2, jacobian).converted(dtype, CPU)
            run.prepared(torch.tensor([start], dtype=dtype), None)


def test_jacobian_is_not_checked_outside_the_functions_domain():
    system = lk.Map(lambda s: np.sqrt(s - 1e-12) * 0 + np.sqrt(s), 1, lambda s: np.array([[0.5 / np.sqrt(s[0])]]))
    run = system.converted(torch.float64, CPU).prepared(torch.tensor([[1e-12]]), None)
    assert run is not system


def test_large_system_is_checked_quickly():
    weight = np.random.default_rng(0).normal(size=(400, 400)) / 20
    right = lk.Map(lambda s: np.tanh(weight @ s), 400, lambda s: (1 - np.tanh(weight @ s) ** 2)[:, None] * weight)
    right.prepared(torch.randn(2, 400), None)
    calls = []
    wrong = lk.Map(lambda s: calls.append(1) or np.tanh(weight @ s), 400, lambda s: weight)
    with pytest.raises(ValueError, match="not the derivative"):
        wrong.prepared(torch.randn(2, 400), None)
    n_checked = len(calls)
    assert n_checked < 2000


# ------------------------------------------------------------------------------------------ kinks


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(
    "step",
    [
        lambda s: 1 - torch.abs(1 - 2 * s),
        lambda s: torch.minimum(2 * s, 2 - 2 * s),
        lambda s: 1 - (1 - 2 * s).relu() - torch.relu(2 * s - 1),
        lambda s: 1 - (1 - 2 * s) * torch.sign(1 - 2 * s),
        lambda s: 1 - torch.nn.functional.l1_loss(2 * s, torch.ones_like(s), reduction="none"),
    ],
    ids=["abs", "minimum", "relu", "sign", "l1_loss"],
)
def test_kink_that_is_met_exactly_is_named(step, batched):
    _, findings = measured(lk.Map(step, 1, batched=batched), [[0.1234567], [0.7]], 200)
    assert len(findings) == 1
    assert "met a kink at state [0.5] exactly" in findings[0]


def test_tie_whose_slope_is_an_average_is_named():
    """min(2x, 1.5 − x) at x = 1/2: slopes 2 and −1, automatic 1/2."""
    _, findings = measured(lk.Map(lambda s: torch.minimum(2 * s, 1.5 - s), 1), [0.5], 1)
    assert "met a kink at state [0.5] exactly" in findings[0]


def test_one_sided_slope_and_flat_surroundings_are_no_findings():
    tent = lk.Map(lambda s: torch.where(s < 0.5, 2 * s, 2 - 2 * s), 1)
    exponents, findings = measured(tent, [0.1234567], 200)
    assert exponents == pytest.approx(np.log(2), abs=1e-12)
    assert not findings
    dead = lk.Map(lambda s: 0.5 * s + torch.relu(2 * torch.relu(s - 10)), 2)
    assert not measured(dead, [0.1, 0.2], 20)[1]
    weight, back = torch.randn(8, 2), 0.2 * torch.randn(2, 8)
    assert not measured(lk.Map(lambda s: back @ torch.relu(weight @ s + 1), 2), [0.1, 0.2], 50)[1]


def test_zero_start_of_a_relu_network_is_named():
    weight, back = torch.randn(8, 2), 0.2 * torch.randn(2, 8)
    _, findings = measured(lk.Map(lambda s: back @ torch.relu(weight @ s), 2), [0.0, 0.0], 5)
    assert "kink at state [0, 0]" in findings[0]


# ------------------------------------------------------------------------------------------ names


def test_repr_says_what_it_is():
    assert repr(lk.Map(henon, 2, henon_jacobian)) == "Map(henon, state_size=2, jacobian given)"
    assert "state_size=2, input_size=3, jacobian by automatic" in repr(lk.Map(lambda s, x: s, 2, input_size=3))
    assert "Lorenz system" in repr(lk.classical.lorenz())
    assert "random network" in repr(lk.classical.RandomNetwork(3))


def test_no_warnings_from_within():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured(lk.Map(lambda s: 2 * s % 1 if float(s[0]) < 2 else s, 1), [0.3], 5)


def test_what_numpy_and_torch_define_otherwise_is_ambiguous():
    """std divides by N, or by N − 1: a function that takes both kinds of arguments does not say which is meant."""
    weights = torch.randn(4, 4)
    start = np.arange(1, 5) * 0.1
    with pytest.raises(ValueError, match="other numbers for NumPy arrays than for tensors"):
        lk.lyapunov_spectrum(lk.Map(lambda s: 0.1 * (s - s.mean()) / s.std(), 4, initial_state=start), n_steps=20)

    class Normed(torch.nn.Module):
        def forward(self, s):
            return 0.5 * weights @ ((s - s.mean()) / s.std()) + 0.3 * weights @ s

    def in_torch(s):
        return 0.5 * weights @ ((s - s.mean()) / torch.std(s)) + 0.3 * weights @ s

    frame, state, growth = torch.eye(4), torch.from_numpy(start), torch.zeros(4)
    for _ in range(20):
        frame, upper = torch.linalg.qr(torch.autograd.functional.jacobian(in_torch, state) @ frame)
        growth, state = growth + upper.diagonal().abs().log(), in_torch(state)
    expected = np.sort(growth.numpy() / 20)[::-1]
    for function in (in_torch, Normed(), Normed().forward):
        ds = lk.lyapunov_spectrum(lk.Map(function, 4, initial_state=start), n_steps=20)
        np.testing.assert_allclose(ds.lyapunov_exponent[0], expected, rtol=0, atol=1e-9)
