"""Products of random matrices with sudden contractions of every kind: what is not labelled is right."""

import warnings
from decimal import Decimal, localcontext

import numpy as np
import pytest
from products import driven_linear

import lyapkit as lk


def _kinds(n, rng):
    """Three matrices: contractions up to 1e-9 in float64's reach, to 1e-30, ranks that drop, rows that are scaled."""
    hardest = rng.choice([0.01, 0.3, 2, 6, 9, 15, 30])
    for _ in range(3):
        sizes = 10.0 ** -rng.uniform(0, hardest, n)
        if rng.random() < 0.3:
            sizes[rng.integers(n) :] = 10.0 ** -rng.uniform(5, 40)
        left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
        if rng.random() < 0.3:
            left = np.eye(n)[rng.permutation(n)]
        yield left @ np.diag(sizes) @ right


def _decimals(array):
    return np.vectorize(Decimal, otypes=[object])(array)  # exactly


def _exact(jacobians, frame):
    """By Gram–Schmidt of 100 digits, of which directions that are 1e-40 apart leave 60."""
    with localcontext(prec=100):
        total, vectors = np.zeros(frame.shape[1]), list(_decimals(frame.T))
        distinct, which = np.unique(jacobians, axis=0, return_inverse=True)
        exact = _decimals(distinct)
        for index in which:
            vectors = [exact[index] @ vector for vector in vectors]
            for i, vector in enumerate(vectors):
                length = (vector @ vector).sqrt()
                total[i] += float(length.ln())
                vectors[i] = unit = vector / length
                for j in range(i + 1, len(vectors)):
                    vectors[j] = vectors[j] - (unit @ vectors[j]) * unit
    return np.sort(total)[::-1]


def _plain(jacobians, frame):
    total = np.zeros(frame.shape[1])
    for jacobian in jacobians:
        frame, upper = np.linalg.qr(jacobian @ frame)
        with np.errstate(divide="ignore"):
            total += np.log(np.abs(np.diag(upper)))
    return np.sort(total)[::-1]


def _check(seed, dtype, n_systems, agrees):
    rng = np.random.default_rng(seed)
    tolerance = 1e-3 if dtype == "float64" else 0.5
    for _ in range(n_systems):
        n, n_steps, batch = rng.integers(2, 9), rng.integers(64, 300), rng.integers(1, 4)
        k = n if rng.random() < 0.7 else rng.integers(1, n + 1)
        matrices = np.stack(list(_kinds(n, rng)))
        chosen = rng.choice(3, size=(batch, n_steps), p=rng.dirichlet([5, 0.3, 0.1]))
        frame = np.linalg.qr(rng.normal(size=(n, k)))[0]
        system = driven_linear(int(n))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", lk.DivergenceWarning)
            inputs = matrices[chosen].reshape(batch, n_steps, -1)
            ds = lk.lyapunov_spectrum(system, inputs, n_exponents=int(k), initial_frame=frame.T, dtype=dtype)
        total, is_bound = ds.lyapunov_exponent.values * n_steps, ds.is_bound.values
        assert np.isfinite(total).all()
        assert bool(is_bound.any()) == any(issubclass(w.category, lk.LostDirectionWarning) for w in caught)
        for measured, bounded, steps in zip(total, is_bound, chosen, strict=True):
            jacobians = matrices[steps] if dtype == "float64" else matrices.astype("f4").astype("f8")[steps]
            for reference in (_plain, _exact):
                right = reference(jacobians, frame)
                known = np.abs(measured - right)[~bounded].max(initial=0.0) < tolerance
                bounds = (right - measured)[bounded].max(initial=-1.0) < tolerance
                if known and bounds:
                    break
            resolved = ~bounded
            agrees(measured[resolved], right[resolved], f"contractions, {dtype}", within=tolerance)
            assert known, (seed, measured, right, bounded)
            assert bounds, (seed, measured, right, bounded)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_random_products(dtype, agrees):
    _check(0, dtype, 12, agrees)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", [1, 2])
def test_many_random_products(dtype, seed, agrees):
    _check(seed, dtype, 60, agrees)
