"""Loops as LLVM's instructions: the same functions, run by Python, say what they should give."""

import ctypes
import math
import sys

import numpy as np
import pytest
from llvmlite import ir

from lyapkit.compiled.kernels import condition_of, copy, orthonormalize
from lyapkit.compiled.processor import address_of
from lyapkit.compiled.translation import Doubles, Longs, translated

SCALE = 3


def inner(values: Doubles, n: int) -> float:
    """Return a sum, of what is before the first number that is not positive."""
    total = 0.0
    for i in range(n):
        if values[i] <= 0.0:
            break
        total += values[i]
    return total


def everything(values: Doubles, counts: Longs, n: int, x: float, out: Doubles) -> None:
    """Do a little of all that is understood."""
    a, b = 1.0, x
    for i in range(2, n, 2):
        if i == 4 and not x > 10.0:
            continue
        if i == 6 or x > 100.0:
            a, b = b, a
        values[i] -= x / 2 + i**2 * 0.5
    j = n
    while j > 3:
        j -= 1
        counts[j] = (j * j + 7) // 3 % SCALE
    counts[0] = -j
    for _ in range(j, n):
        counts[1] += 1
    out[0] = inner(values[1:], n - 1)
    out[1] = max(a, b, -x)
    out[2] = min(j, 5)
    out[3] = abs(-x) + math.sqrt(x) + math.log(x) + x ** (5 / 6)
    out[4] = int(x) if x < math.inf else 0
    out[5] = float(counts[1] ^ 5) + a


def run(functions, *arguments, vectorizes=False):
    module = ir.Module(name="test")
    translated(module, functions)
    kinds = {int: ctypes.c_int64, float: ctypes.c_double}
    signature = ctypes.CFUNCTYPE(None, *(kinds.get(type(a), ctypes.c_void_p) for a in arguments))
    call = signature(address_of(functions[-1].__name__, module, vectorizes))
    call(*(a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments))


@pytest.mark.parametrize("x", [0.7, 12.5, 123.4])
def test_everything(x):
    rng = np.random.default_rng(0)
    results = []
    for way in (run, lambda functions, *arguments: functions[-1](*arguments)):
        arrays = rng.uniform(5, 50, size=9).round(3), np.zeros(9, dtype=np.int64), np.zeros(6)
        rng = np.random.default_rng(0)
        arrays[0][:] = rng.uniform(5, 50, size=9)
        way([inner, everything], arrays[0], arrays[1], 9, x, arrays[2])
        results.append(arrays)
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-14)


@pytest.mark.parametrize("vectorizes", [False, True])
def test_orthonormalisation(vectorizes):
    n, k = 7, 5
    frame = np.random.default_rng(1).normal(size=(n, k))
    got, diagonal = frame.ravel().copy(), np.zeros(k)
    run([orthonormalize], got, n, k, k, diagonal, vectorizes=vectorizes)
    expected, upper = np.linalg.qr(frame)
    signs = np.sign(np.diag(upper))
    np.testing.assert_allclose(got.reshape(n, k), expected * signs, atol=1e-14)
    np.testing.assert_allclose(diagonal, np.abs(np.diag(upper)), rtol=1e-14)


def test_condition_in_python():
    frame, lengths, diagonal = np.diag([4.0, 2.0]).ravel(), np.zeros(2), np.zeros(2)
    assert condition_of(frame, 2, 2, 2, diagonal, lengths) == 1.0


@pytest.mark.parametrize("source", ["target[0] = n @ n", "target[0] = 'text'", "target[0] = round(1.5)", "n = 0.5"])
def test_what_is_not_understood(source, tmp_path, monkeypatch):
    (tmp_path / "not_understood.py").write_text(
        f"from lyapkit.compiled.translation import Doubles\n\n\ndef f(target: Doubles, n: int) -> None:\n    {source}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "not_understood", raising=False)
    from not_understood import f

    with pytest.raises(SyntaxError, match="f"):
        translated(ir.Module(name="test"), [copy, f])
