"""Claims are not seen in data without them, are seen in data that have them, and compare effects with their chance."""

import functools
import itertools
import math

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from scripts import ROOT

from figures import claims
from figures.claims import statistics, sweeps, synthetic

every_claim = pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim.ask.__name__)


@functools.cache
def _committed(claim):
    return claim.data(ROOT / "data")


def _share_seen(claim, given):
    return np.mean([claim.ask(*datasets)[0] == claims.SEEN for datasets in given])


def _shuffled(claim, given, n):
    """Yield every one of some data, shuffled n times."""
    for seed, datasets in enumerate(itertools.chain.from_iterable([given] * n)):
        yield claim.shuffled(datasets, np.random.default_rng([seed, 1]))


def _made_up(claim, n):
    return [claim.synthetic(np.random.default_rng(seed)) for seed in range(n)]


def _own(claim, like):
    """Return the committed data of a claim, with the variables that it asks alone, or none if they are not there."""
    committed = _committed(claim)
    if any(name not in committed for name in claim.needs):
        return []
    return [tuple(committed[name][list(made.data_vars)] for name, made in zip(claim.needs, like, strict=True))]


@every_claim
def test_a_claim_is_seen_where_it_is_true_only(claim):
    made_up = _made_up(claim, 3)
    assert _share_seen(claim, made_up) == 1
    assert _share_seen(claim, _shuffled(claim, made_up, 3)) < 0.5


@pytest.mark.slow
@every_claim
def test_shares_of_seen(claim):
    made_up = _made_up(claim, 40)
    assert _share_seen(claim, made_up) >= 0.9
    assert _share_seen(claim, _shuffled(claim, made_up, 5)) <= 0.05
    for own in _own(claim, made_up[0]):
        assert _share_seen(claim, _shuffled(claim, [own], 200)) <= 0.05
        assert claim.ask(*own) == claim.verdict(_committed(claim))  # nothing else is asked


def test_claims_without_data_say_their_criterion_and_what_is_missing():
    assert len({claim.text for claim in (*claims.CLAIMS, *claims.WAITING)}) == len(claims.CLAIMS) + len(claims.WAITING)
    for claim in claims.WAITING:
        verdict, evidence = claim.verdict
        assert (verdict, evidence) == (claims.NOT_YET, f"missing: {claim.lacks}")
        assert claim.criterion.startswith("Expect ")


def test_a_verdict_that_hangs_on_a_threshold_says_so():
    values = np.array([0.1, 0.11, 0.12])
    judged, margin = claims.judging.judged, statistics.margin
    assert "hangs" not in judged([margin("", values, smallest=0.01)])[1]
    verdict, evidence = judged([margin("", values, smallest=0.07)])
    assert verdict == claims.SEEN
    assert evidence.endswith("the verdict hangs on a threshold: not seen if twice the effect counted")


@every_claim
def test_a_claim_says_its_criterion_and_what_is_missing(claim):
    assert claim.ask.__doc__.startswith("Expect ")
    assert claim.needs
    verdict, evidence = claim.verdict({})
    assert (verdict, evidence.startswith("missing: ")) == (claims.NOT_YET, True)
    found, evidence = claim.verdict(_committed(claim))
    assert found in (claims.SEEN, claims.NOT_SEEN, claims.UNDECIDED, claims.NOT_YET)
    assert evidence
    assert "nan" not in evidence


def test_few_networks_decide_nothing():
    """Whatever the effect is: of two networks the variability is not known."""
    rng = np.random.default_rng(0)
    few, enough = (
        synthetic.sweep(rng, "radius", synthetic.RADII, setback=lambda r: 3.0 if r > 1 else 0.1, n_networks=n)
        for n in (2, 3)
    )
    judge = claims.radii.supercritical_is_unstable_at_a_smaller_rate
    assert [judge(ds)[0] for ds in (few, enough)] == [claims.UNDECIDED, claims.SEEN]


def test_the_opposite_is_not_seen():
    rng = np.random.default_rng(0)
    calmer = synthetic.sweep(rng, "radius", synthetic.RADII, setback=lambda r: 0.1 if r > 1 else 3.0)
    assert claims.radii.supercritical_is_unstable_at_a_smaller_rate(calmer)[0] == claims.NOT_SEEN
    assert claims.rotations.best_frequency(claims.rotations.rotated(rng, score=0.7))[0] != claims.SEEN


def test_collapsed_networks_and_such_as_never_learn_decide_nothing():
    rng = np.random.default_rng(0)
    numbers = {"score": lambda r: 0.1 if r > 1 else 0.8 if r > 0.989 else 0.6, "setback": 9.0}
    gone = [synthetic.sweep(rng, "radius", synthetic.RADII, **numbers)] * 2
    assert claims.radii.near_critical_is_best(*gone)[0] == claims.UNDECIDED
    never = synthetic.sweep(rng, "radius", synthetic.RADII, time=1e4)
    verdict, evidence = claims.radii.subcritical_is_slow(never)
    assert verdict == claims.UNDECIDED
    assert "0 of 25 networks learn" in evidence


def test_what_a_sweep_tells():
    ds = xr.Dataset(
        {
            "test_score": (("radius", "network", "iteration"), [[[0.1, 0.6, 0.5]], [[0.1, 0.2, 0.8]]]),
            "test_loss": (("radius", "network", "iteration"), [[[2.3, 1.0, 1.5]], [[2.3, 11.3, np.nan]]]),
            "best_score": (("radius", "network"), [[0.6], [0.8]]),
            "iterations_to_minimal_performance": (("radius", "network"), [[10.0], [np.nan]]),
        },
        {"radius": [0.9, 0.999], "iteration": [0, 10, 20]},
        {"score": "accuracy", "n_steps": 100, "task": "smnist"},
    )
    np.testing.assert_allclose(sweeps.setbacks(ds), np.log10([[1.5], [10.0]]))  # rises by 0.5 and by 9
    assert sweeps.collapsed(ds).tolist() == [[False], [True]]
    assert sweeps.times(ds).tolist() == [[10.0], [np.inf]]
    assert sweeps.times_to(ds, 0.7).tolist() == [[np.inf], [20.0]]
    assert sweeps.scores(ds.assign_attrs(score="RMS error")).tolist() == [[-0.6], [-0.8]]
    assert {name: mask.tolist() for name, mask in sweeps.regimes(ds).items()} == {
        "far": [True, False],
        "near": [False, True],
        "at": [False, False],
        "above": [False, False],
    }


def test_permutation_of_two_groups_is_that_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1.0, 1.0, 5), rng.normal(0.0, 1.0, 4)
    effect = statistics.between("", a, b)

    def difference(x, y, axis):
        return x.mean(axis) - y.mean(axis)

    for alternative, p in (("greater", effect.p), ("less", effect.p_opposite)):
        known = scipy.stats.permutation_test(
            (a, b), difference, vectorized=True, n_resamples=np.inf, alternative=alternative
        )
        assert math.isclose(p, known.pvalue)
    assert math.isclose(effect.size, a.mean() - b.mean())


def test_trend_is_pages():
    """In three networks of three values: its exact p-value is that of Page's test."""
    table = np.array([[1.0, 2.0, 3.0], [1.5, 2.5, 2.0], [3.0, 1.0, 5.0]]).T
    effect = statistics.within("", statistics.ranks(table), statistics.trend(np.arange(3)))
    page = scipy.stats.page_trend_test(table.T, method="exact")
    assert math.isclose(effect.p, page.pvalue)
    correlations = [scipy.stats.spearmanr(column, np.arange(3)).statistic for column in table.T]
    assert math.isclose(effect.size, np.mean(correlations))


def test_signs():
    values = np.array([[1.0, 2.0], [0.5, np.nan]])
    effect = statistics.signed("", values)
    assert math.isclose(effect.p, 1 / 8)  # of 2³ choices of signs only the own one is as large
    assert math.isclose(effect.size, 3.5 / 3)


def test_bootstrap_goes_through_all_draws():
    values = np.array([0.0, 1.0, 5.0, 2.0])
    means = sorted(np.mean(draw) for draw in itertools.product(values, repeat=4))
    low, high = statistics.bootstrap(values)
    expected = np.quantile(means, (0.025, 0.975), method="inverted_cdf")
    np.testing.assert_allclose((low, high), expected)
    both = sorted(a - b for a in means for b in (0.0, 0.5, 0.5, 1.0))  # means of two networks, 0 and 1
    expected = np.quantile(both, (0.025, 0.975), method="inverted_cdf")
    np.testing.assert_allclose(statistics.bootstrap(values, np.array([0.0, 1.0])), expected)
