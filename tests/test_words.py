"""What datasets say, in a sentence."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import lyapkit as lk


def _diagonal(*factors):
    matrix = torch.diag(torch.tensor(factors))
    system = lk.Map(lambda state: matrix @ state, len(factors), initial_state=np.zeros(len(factors)))
    return lk.lyapunov_spectrum(system, n_steps=64)


@pytest.mark.parametrize(
    ("ds", "words"),
    [
        (
            lambda: _diagonal(0.9, 0.5),
            "All directions fade: λ₁ = -0.1054 nats per step; the slowest memory is 9.49 steps.",
        ),
        (
            lambda: _diagonal(1.5, 1.2, 0.5),
            "grow in 2 directions: λ₁ = 0.4055 nats per step, twice as large after 1.71 steps",
        ),
        (lambda: _diagonal(1.0, 0.5), "cannot be told from 0"),
    ],
)
def test_one_sentence(ds, words):
    assert words in lk.in_words(ds())


def test_sentences_of_the_extremes():
    ds = _diagonal(0.9, 0.5)
    unknown = ds.assign(lyapunov_exponent=ds.lyapunov_exponent * np.nan)
    assert "not known" in lk.in_words(unknown)
    bounded = ds.assign(is_bound=ds.is_bound | True)
    assert "only an upper bound" in lk.in_words(bounded)
    with pytest.raises(ValueError, match="in_words got DataArray"):
        lk.in_words(ds.lyapunov_exponent)


def test_comparisons():
    spectra = {"slow": _diagonal(0.9, 0.2), "fast": _diagonal(0.1), "between": _diagonal(0.5)}
    words = lk.in_words(lk.compare(spectra))
    expected = "Perturbations last longest in slow (λ₁ = -0.1054) and shortest in fast (λ₁ = -2.303), in nats per step."
    assert words == expected
    alike = lk.compare({"a": _diagonal(0.5), "b": _diagonal(0.5)})
    alike["lyapunov_exponent"] = alike.lyapunov_exponent + np.array([[0.0], [0.1]])
    alike["standard_error"] = alike.standard_error.fillna(0.0) + 0.06
    assert lk.in_words(alike).startswith("Perturbations last longest in b (λ₁ = -0.593 ± 0.060) and shortest in a (")
    assert lk.in_words(alike).endswith("; the two cannot be told apart.")
    alike["lyapunov_exponent"] = alike.lyapunov_exponent + np.array([[np.nan], [0.0]])
    assert lk.in_words(alike) == "Of b alone the largest exponent is known."


def test_sweeps():
    ds = lk.sweep(lk.classical.logistic, {"r": [3.2, 3.5, 4.0]}, n_steps=2000)
    assert lk.in_words(ds).startswith(
        "The largest exponent is clearly above 0 at 1 of 3 values; it is highest at r = 4, 0.69"
    )
    ds["lyapunov_exponent"] = -ds.lyapunov_exponent
    assert "at 2 of 3 values; it is highest at r = 3.2, 0.91" in lk.in_words(ds)


def test_validation_of_weak_coupling():
    model = lk.WCRNN(2, 5, 3, lk.residuals.scaled_identity(5, 0.9), 0.001, dtype=torch.float64)
    ds = lk.validate_weak_coupling(model, np.zeros((1, 200, 2)))
    assert lk.in_words(ds).startswith("Eq. 13 holds to")


@pytest.mark.parametrize(("factor", "words"), [(0.8, "fade by 0.2231"), (1.25, "grow by 0.2231")])
def test_gradients(factor, words):
    """Those of a linear network change by its factor in each step."""
    model = lk.RecurrentNetwork(nn.RNN(1, 1, nonlinearity="relu"), nn.Linear(1, 2)).double()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_({"weight_hh_l0": factor, "weight_ih_l0": 1.0}.get(name.rpartition(".")[2], 0.1))
        model.readout.weight[0] = -0.1
    ds = lk.gradient_norms(model, np.ones((3, 40, 1)), np.array([0, 1, 1]), "cross-entropy")
    found = lk.in_words(ds)
    assert words in found
    assert found.endswith(f"a factor e in {1 / 0.22314:.3g} steps.")
    ds["decay_rate"] = ("sample", [-0.1, 0.1, 0.02])
    assert "neither fade nor grow clearly: 0.007 ± 0.058" in lk.in_words(ds)


@pytest.mark.parametrize(
    ("values", "which", "words"),
    [
        ([4.0, -1.0], "magnitude", "largest curvature is 4: gradient descent is stable up to a learning rate of 0.5"),
        ([1.0, -4.0], "magnitude", "strongest curvature is negative, -4: "),
        ([1.0, -4.0], "largest", "largest curvature is 1: gradient descent is stable up to a learning rate of 2"),
        ([-4.0, 1.0], "smallest", "smallest curvature is negative, -4: "),
        ([0.5, 1.0], "smallest", "No curvature is negative: the smallest is 0.5"),
        ([-0.5, -1.0], "largest", "No curvature is positive"),
        ([0.0, 0.0], "magnitude", "All curvatures are zero"),
        ([np.nan, np.nan], "magnitude", "No eigenvalue is known"),
    ],
)
@pytest.mark.parametrize("name", ["hessian_eigenvalue", "ggn_eigenvalue"])
def test_eigenvalues(name, values, which, words):
    ds = xr.Dataset({name: ("eigenvalue", values)}, attrs={"parameters": f'{{"which": "{which}"}}'})
    assert words in lk.in_words(ds)


def test_eigenvalues_are_told_which_they_are():
    model = lk.RecurrentNetwork(nn.RNN(1, 2), nn.Linear(2, 2)).double()
    given = (model, np.ones((3, 9, 1)), np.array([0, 1, 1]), "cross-entropy")
    assert lk.in_words(lk.hessian_eigenvalues(*given, 3, which="smallest")).startswith("The smallest curvature is neg")
    assert lk.in_words(lk.ggn_eigenvalues(*given, 3)).startswith("The largest curvature is")


def test_several_checkpoints():
    """The last is spoken of, not all of them together."""
    model = lk.RecurrentNetwork(nn.RNN(1, 2), nn.Linear(2, 2)).double()
    other = lk.RecurrentNetwork(nn.RNN(1, 2), nn.Linear(2, 2)).double()
    given = (np.ones((3, 9, 1)), np.array([0, 1, 1]), "cross-entropy")
    for analysis, options in ((lk.gradient_norms, {}), (lk.hessian_eigenvalues, {"k": 2})):
        over = lk.over_training(analysis, {0: other, 7: model}, *given, **options)
        assert lk.in_words(over) == f"At step 7, the last: {lk.in_words(analysis(model, *given, **options))}"


def test_covariant_vectors():
    """Of a triangular map: one vector along the first axis, the other at the slope of the eigenvector."""
    matrix = torch.tensor([[1.0, 1.0], [0.0, 0.5]])
    system = lk.Map(lambda state: matrix @ state, 2, initial_state=np.zeros(2))
    ds = lk.covariant_vectors(system, n_steps=50, n_transient=80, n_backward_transient=80)
    angle = np.degrees(np.arctan2(0.5, 1.0))
    words = f"those of exponents 1 and 2 come closest, to {angle:.3g}°; at 0° they would be tangent."
    assert lk.in_words(ds) == f"Of neighbouring directions, {words}"
    ds["forward_residual"] = ds.forward_residual + np.array([0.0, 1.0])
    assert lk.in_words(ds).endswith("tangent. But 1 of 2 vectors did not converge: run longer.")
    assert lk.in_words(ds.isel(neighbour=[])) == "There are no angles between vectors."


@pytest.mark.parametrize(
    ("first", "best", "words"),
    [
        ([np.nan, np.nan], [0.5, 0.75], "No network reached minimal performance; best test accuracy from 0.5 to 0.75."),
        ([200, 100], [0.9, 0.9], "2 networks reached minimal performance, the first after 100 iterations; best test"),
        ([200, np.nan], [0.9, 0.1], "1 network of 2 reached minimal performance, the first after 200 iterations"),
        ([np.nan, np.nan], [-np.inf, -np.inf], "Of 2 networks all diverged."),
    ],
)
def test_trainings(first, best, words):
    ds = xr.Dataset(
        {"test_score": (("network", "iteration"), np.zeros((2, 1)))}
        | {
            name: ("network", values)
            for name, values in (("iterations_to_minimal_performance", first), ("best_score", best))
        },
        attrs={"score": "accuracy"},
    )
    assert lk.in_words(ds).startswith(words)
