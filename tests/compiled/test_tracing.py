"""What functions compute, written down as arithmetic: values, derivatives, and what is refused."""

import functools
import math

import numpy as np
import pytest
import torch

from lyapkit.systems.tracing import Untraceable, traced

A = np.array([[0.9, 0.3, 0.0], [-0.2, 0.7, 0.4], [0.1, 0.0, -0.5]])


def unary(name):
    def function(s):
        x = getattr(np, name)(0.4 * np.tanh(s) + (1.5 if name == "arccosh" else 0.45))
        return np.array([x[0], x[1], x[2]])

    function.__name__ = name
    return function


def filled(s):
    out = np.zeros(3)
    out[:2] = s[1:] ** 3
    out[2] = math.sin(s[0]) + math.hypot(s[1], 2.0)
    return out


def branches(s):
    if s[0] > 0.1 and s[1] < 0.5:
        return np.array([s[0] * s[1], abs(s[1]), s[2] % 0.3])
    return np.array([s[0], min(s[1], s[2]), np.where(s[2] > 0, s[2], 2 * s[2])])


def extremes(s):
    return np.stack([np.maximum(s[0], s[1]), np.max(s), np.clip(s, -0.5, 0.5).sum()])


def in_place(s):
    x = s[0]
    s[0] = s[1] * s[2]
    s[1] += x
    return s


def scaled(s, factor):
    return factor * s / (1 + np.linalg.norm(s) ** 2) + np.dot(A, s) + np.roll(s, 1) ** -2


def alias(s):
    y = np.asarray(s)
    y[0] = np.cos(y[1])  # s[0], too
    return np.array([s[0] + s[2], float(s[1]), np.float64(s[2]) + (s > 0.3).astype(float).sum() + s.mean()])


def truths(s):
    if np.any(s > 1.5) or isinstance(s[0], int):
        return np.where(np.isnan(s), 0.0, s)
    count = np.sum(s > 0) + 1.0 * (s[0] > 0.5) + 1.0 * (s[0] > -0.5)
    return s * count + np.logical_xor(s > 0, s[0] > 0.2) + (s > 0) * np.logical_and(s, True)


def kept_dtype(s):
    out = np.zeros(s.shape, dtype=s.dtype)
    out[...] = np.round(s, 1) + 0.1 * np.remainder(s, -0.7) + np.fmod(s, 0.4)
    return out if s.dtype == np.float64 else 2 * out


class Callable:
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, s):
        return np.concatenate([self.inner(s)[1:], [np.mean(s) + np.exp2(s[0]) + np.sign(s[0]) * np.floor(s[1])]])


def torch_in_place(s):
    new = torch.zeros(3)
    new[:2] = torch.sin(s[1:])
    new[2] = 0.3 * s[0]
    return new


def torch_branches(s):
    matrix = torch.as_tensor(A)
    return torch.tanh(matrix @ s) if s[0] < 0.2 else 0.9 * torch.relu(matrix @ s) + torch.softmax(s, 0)


def torch_many(s):
    x, y, z = s.unbind()
    first = torch.sigmoid(x) + torch.nn.functional.softplus(y) + torch.nn.functional.elu(z) + torch.clamp(x, -0.3, 0.3)
    second = torch.where(x > y, x, y) * torch.remainder(z, 0.7) + torch.atan2(x, y) + torch.pow(2.0, x)
    return torch.stack([first, second, torch.cat([s, s.flip(0)]).cumsum(0)[4] + s.roll(1)[0] / s.abs().mean()])


def torch_types(s):
    positive = (s > 0).double() + (s > 0.5).to(s)
    new = torch.zeros_like(s)
    new.copy_(torch.sin(s)[None].squeeze_(0))
    return new * positive + torch.erf(s) + torch.nn.functional.gelu(s) + torch.round(s, decimals=1)


NUMPY = [*map(unary, ("sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "arcsin", "arccos", "arctan"))]
NUMPY += [*map(unary, ("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "square", "reciprocal", "cbrt"))]
NUMPY += [
    alias,
    truths,
    kept_dtype,
    filled,
    branches,
    extremes,
    in_place,
    functools.partial(scaled, factor=0.7),
    Callable(filled),
]
TORCH = [torch_types, torch_in_place, torch_branches, torch_many, torch.nn.Linear(3, 3).double()]


def _named(function):
    return getattr(function, "__name__", type(function).__name__)


@pytest.mark.parametrize("function", NUMPY, ids=_named)
def test_numpy(function):
    _compare(traced(function, 3), lambda s: np.asarray(function(s.copy())))


@pytest.mark.parametrize("function", TORCH, ids=_named)
def test_torch(function):
    def value(s):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return function(torch.tensor(s)).detach().numpy()
        finally:
            torch.set_default_dtype(before)

    _compare(traced(function, 3, in_torch=(True, True)), value)


def _compare(program, value):
    """Values to rounding, derivatives by differences of the function itself."""
    rng = np.random.default_rng(0)
    for _ in range(12):
        state = rng.normal(size=3)
        tangent = rng.normal(size=(1, 2, 3))
        got, pushed = program.push(state[None], None, tangent)
        np.testing.assert_allclose(got[0], value(state), rtol=1e-13, atol=1e-14)
        for row, direction in zip(pushed[0], tangent[0], strict=True):
            difference = (value(state + 1e-6 * direction) - value(state - 1e-6 * direction)) / 2e-6
            np.testing.assert_allclose(row, difference, rtol=1e-6, atol=1e-6)


def test_batched_and_driven():
    program = traced(lambda s, x: np.tanh(s @ A.T) + x[:, :1] * s, 3, 2, batched=True)
    state, input = np.random.default_rng(1).normal(size=(4, 3)), np.random.default_rng(2).normal(size=(4, 2))
    np.testing.assert_allclose(program.step(state, input), np.tanh(state @ A.T) + input[:, :1] * state, rtol=1e-14)


def test_parameters_make_no_new_structure():
    first, second = (traced(lambda s, a=a: np.array([1 - a * s[0] ** 2 + s[1], 0.3 * s[0]]), 2) for a in (1.3, 1.4))
    assert [node[0] for node in first.nodes] == [node[0] for node in second.nodes]


def until_small(s):
    while abs(s[0]) > 1:
        s = s / 2
    return s


def caught(s):
    try:
        return s * math.sqrt(s[0])
    except ValueError:
        return s


def left_torch(s):
    return s if s.tolist()[0] > 0 else 2 * s


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (until_small, "loops until something holds"),
        (lambda s: np.linalg.solve(A, s), "TypeError"),
        (lambda s: A[int(s[0])], "needs an argument as a number"),
        (lambda s: s[:2], "returns shape"),
        (lambda s: np.interp(s, [0, 1], [0, 1]), "."),
        (lambda s: np.array([s[0] ^ 1, s[1], s[2]]), "bits"),
        (lambda s: s.astype(int), "rounds to int64"),
        (lambda s: np.array(s, dtype=np.float32), "rounds to float32"),
        (lambda s: np.zeros_like(s, dtype=int) + s, "rounds to int64"),
        (lambda s: s * ((s > 0) + (s > 1)), "adds truth values"),
        (caught, "catches exceptions"),
    ],
)
def test_refusals(function, reason):
    with pytest.raises(Untraceable, match=reason):
        traced(function, 3)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (left_torch, "leaves torch by tolist"),
        (lambda s: s.float().double(), "rounds to float32"),
        (lambda s: s * s.long(), "rounds to int64"),
        (lambda s: s * ((s > 0) + (s > 1)), "adds truth values"),
        (lambda s: s if s[0].item() > 0 else 2 * s, "needs an argument as a number"),
    ],
)
def test_refusals_in_torch(function, reason):
    with pytest.raises(Untraceable, match=reason):
        traced(function, 3, in_torch=(True, True))


@pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin"])
def test_what_is_not_a_number_stays_so(name):
    function = getattr(np, name)
    values = np.array([[np.nan, 1.0], [1.0, np.nan], [np.nan, np.nan], [2.0, 1.0], [1.0, 2.0]])
    program = traced(lambda s: np.stack([function(s[0], s[1]), function(s[0], 1.5)]), 2)
    expected = np.stack([function(values[:, 0], values[:, 1]), function(values[:, 0], 1.5)], axis=-1)
    np.testing.assert_array_equal(program.step(values), expected)
    in_torch = traced(lambda s: torch.relu(s) + torch.sign(s) + torch.clamp(s, -1, 1), 2, in_torch=(True, True))
    assert np.isnan(in_torch.step(values)).tolist() == np.isnan(values).tolist()
