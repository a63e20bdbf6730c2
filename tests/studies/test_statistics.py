"""Intervals and tests against SciPy's own and naive loops."""

import doctest
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from gca_jax.studies import statistics

RNG = np.random.default_rng(0)
ONES = [RNG.normal(70, 2, size=n) for n in (2, 3, 5, 20)]


@pytest.mark.parametrize("values", ONES, ids=len)
def test_a_mean_s_interval_is_scipy_s(values):
    got = statistics.summarise(values.tolist())
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (got.n, got.mean) == (len(values), pytest.approx(sum(values) / len(values)))
    assert got.sd == pytest.approx(stats.tstd(values))
    assert got.mean - got.half_width == pytest.approx(interval.low)
    assert got.mean + got.half_width == pytest.approx(interval.high)


@pytest.mark.parametrize("values", ONES, ids=len)
def test_a_comparison_is_scipy_s_paired_test(values):
    other = values + RNG.normal(0.5, 1, size=len(values))
    got, want = statistics.compare(values.tolist(), other.tolist()), stats.ttest_rel(values, other)
    interval = want.confidence_interval(0.95)
    assert got.p == pytest.approx(want.pvalue)
    assert got.mean - got.half_width == pytest.approx(interval.low)
    assert got.mean + got.half_width == pytest.approx(interval.high)


def test_too_few_runs_and_equal_ones_have_no_false_precision():
    assert math.isnan(statistics.summarise([]).mean)
    one = statistics.summarise([3.0])
    assert one.mean == 3
    assert math.isnan(one.sd)
    assert math.isnan(one.half_width)
    assert math.isnan(statistics.compare([1.0], [2.0]).p)
    assert statistics.compare([1.0, 2.0], [1.0, 2.0]) == (2, 0, 0, 1)
    alike = statistics.compare([2.0, 3.0], [1.0, 2.0])
    assert alike.mean == 1
    assert math.isnan(alike.p)
    assert math.isnan(alike.half_width)
    with pytest.raises(ValueError, match="pairs are needed, got 2 and 1 runs"):
        statistics.compare([1.0, 2.0], [1.0])


def naive_holm(p, alpha):
    """The procedure as Holm wrote it: reject from the smallest on while p < α / (m - k)."""
    rejected = set()
    for k, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] >= alpha / (len(p) - k):
            break
        rejected.add(i)
    return rejected


@pytest.mark.parametrize("p", [RNG.uniform(0, 0.1, size=n).tolist() for n in (1, 2, 3, 6, 10)])
def test_holm_rejects_what_the_procedure_rejects(p):
    adjusted = statistics.holm(p)
    for alpha in (0.01, 0.05, 0.1, 0.2):
        assert {i for i, one in enumerate(adjusted) if one < alpha} == naive_holm(p, alpha)


def test_holm_leaves_out_what_was_not_compared():
    got = statistics.holm([0.02, math.nan, 0.01])
    assert got[0] == got[2] == pytest.approx(0.02)
    assert math.isnan(got[1])


def test_the_bootstrap_is_that_of_all_draws():
    """Of three items there are 27 equally likely draws, whose mean and quantiles are known."""
    ours, reference = np.array([[1.0, 1, 0], [1, 0, 1]]), np.array([[0.0, 1, 0]])
    by_item = [1.0, 0.5 - 1.0, 0.5]
    draws = [
        np.mean([by_item[i] for i in drawn]) for drawn in itertools.product(range(3), repeat=3)
    ]
    mean, low, high = statistics.bootstrap(ours, reference, draws=4000)
    assert mean == pytest.approx(np.mean(by_item))
    assert [low, high] == pytest.approx(
        np.quantile(draws, [0.025, 0.975], method="inverted_cdf"), abs=1e-9
    )


def test_the_bootstrap_is_near_the_normal_interval_and_a_function_of_its_seed():
    ours, reference = RNG.uniform(size=(2, 3, 400)) < [[[0.8]], [[0.7]]]
    ours, reference = ours.astype(float), reference.astype(float)
    mean, low, high = statistics.bootstrap(ours, reference, draws=2000)
    by_item = ours.mean(0) - reference.mean(0)
    half = 1.96 * by_item.std(ddof=1) / 20
    assert [low, high] == pytest.approx([mean - half, mean + half], abs=0.15 * half)
    assert statistics.bootstrap(ours, reference, draws=2000) == (mean, low, high)
    assert statistics.bootstrap(ours, reference, draws=2000, seed=1) != (mean, low, high)


def test_correlations_are_numpys_of_values_and_of_ranks():
    x = RNG.normal(size=20)
    y = np.exp(x) + 0.3 * RNG.normal(size=20)
    n, pearson, spearman = statistics.correlate(x.tolist(), y.tolist())
    assert n == 20
    assert pearson == pytest.approx(np.corrcoef(x, y)[0, 1])
    ranks = (np.argsort(np.argsort(values)) for values in (x, y))
    assert spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert math.isnan(statistics.correlate([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])[1])


@pytest.mark.usefixtures("unchecked")
def test_other_items_are_refused():
    ours = np.ones((3, 400))
    with pytest.raises(ValueError, match=r"are of \(3, 400\) and \(3, 399\)"):
        statistics.bootstrap(ours, ours[:, 1:])


def test_examples():
    assert doctest.testmod(statistics).failed == 0


@pytest.mark.usefixtures("unchecked")
def test_a_seed_is_an_integer():
    with pytest.raises(ValueError, match=r"seed must be an integer >= 0, got 1.5"):
        statistics.bootstrap(np.ones((1, 2)), np.ones((1, 2)), seed=1.5)
