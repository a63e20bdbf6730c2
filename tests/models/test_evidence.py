"""Pairs as evidence: the E step is the plan whose prior is Q, and what is inferred is right."""

import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gca_jax.models import closed_form, evidence, starts
from tests.ot.test_priors import q_matrix

RNG = np.random.default_rng(0)
ROTATION = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
N = 300


def two_sets(n=N, noise=0.1, seed=1):
    """Rows of clusters of unlike sizes, and the same rotated: no symmetry maps one to itself."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(2).normal(size=(8, 6)) * np.arange(1, 9)[:, None] ** 0.5
    x = centres[rng.integers(0, 8, n) // 2 * 2] + rng.normal(size=(n, 6))
    y = x @ ROTATION + noise * rng.normal(size=x.shape)
    return closed_form.unit(x), closed_form.unit(y)


def recall(maps, x, y):
    return np.mean((maps.map_x(x) @ maps.map_y(y).T).argmax(axis=1) == np.arange(len(x)))


def all_rows(n=N):
    return evidence.Given(np.stack([np.arange(n)] * 2, axis=1))


def test_an_e_step_is_the_plan_of_the_prior_q(monkeypatch):
    """P = diag(u) (Q ∘ e^(S/ε)) diag(v) with the marginals of Q, in NumPy."""
    monkeypatch.setattr(evidence, "SWEEPS", 300)
    x, y = two_sets(n=12)
    pairs, confidence = np.array([[0, 0], [3, 4], [3, 5], [7, 7]]), np.array([0.9, 0.3, 0.4, 0.2])
    start = closed_form.procrustes(closed_form.moments(x, y, centre=False))
    fit = evidence.align(
        x, y, evidence.Given(pairs, confidence), start, rotating=(0.2,), rounds=1, correlating=()
    )
    uniform = np.full(12, 1 / 12)
    q, given = q_matrix(uniform, uniform, pairs, confidence)
    plan = q * np.exp(start.map_x(x) @ start.map_y(y).T / 0.2)
    for _ in range(evidence.SWEEPS):
        plan *= (uniform / plan.sum(axis=1))[:, None]
        plan *= uniform / plan.sum(axis=0)
    rows, columns = pairs.T
    largest = given[rows, columns] / confidence
    np.testing.assert_allclose(fit.posterior, plan[rows, columns] / largest, rtol=1e-6)
    u, _, vt = np.linalg.svd(x.T @ plan @ y)
    np.testing.assert_allclose(fit.maps.x, u @ vt, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("most", [evidence.MOST, 128])
def test_wrong_pairs_are_found(most):
    """80 % wrong, whole and in batches: near what all right pairs give; CCA of the pairs is not."""
    x, y = two_sets()
    right = np.arange(N) >= 0.8 * N
    y_given = np.where(right[:, None], y, np.roll(y, 7, axis=0))
    start = closed_form.procrustes(closed_form.moments(x, y_given, centre=False))
    fit = evidence.align(x, y_given, all_rows(), start, most=most)
    best = recall(closed_form.cca(closed_form.moments(x, y, centre=False)), *two_sets(seed=3))
    plain = closed_form.cca(closed_form.moments(x, y_given, centre=False))
    assert recall(fit.maps, *two_sets(seed=3)) > best - 0.05
    assert recall(plain, *two_sets(seed=3)) < best - 0.2
    judged = evidence.judge(x, y_given, fit.maps, all_rows().pairs)
    share, sd = evidence.share_of_right_pairs(judged)
    assert abs(share - 0.2) < 3 * sd + 0.02
    q = evidence.calibrated(judged)
    assert roc_auc_score(right, q) > 0.95
    assert abs(q.mean() - 0.2) < 0.08


@pytest.mark.slow
def test_few_pairs_and_none():
    """Ten pairs of 300 rows, the others unordered; more rows on one side; no pair at all."""
    x, y = two_sets()
    order = RNG.permutation(N)
    shuffled, place = y[order], np.argsort(order)
    pairs = np.stack([np.arange(10), place[:10]], axis=1)
    start = closed_form.procrustes(closed_form.moments(x[:10], y[:10], centre=False))
    known = evidence.align(x[:250], shuffled, evidence.Given(pairs), start, share=0.9)
    best = recall(closed_form.cca(closed_form.moments(x, y, centre=False)), *two_sets(seed=3))
    assert recall(known.maps, *two_sets(seed=3)) > best - 0.1
    none = starts.without_pairs(x, shuffled)
    assert recall(none, *two_sets(seed=3)) > best - 0.1
    assert starts.agreement(x, shuffled, known.maps, none) > 0.8
    held_out = np.stack([np.arange(10, 60), place[10:60]], axis=1)
    wrong = np.stack([np.arange(10, 60), np.roll(place[10:60], 1)], axis=1)
    fits, misses = (
        evidence.held_out_likelihood(evidence.judge(x, shuffled, none, pairs))
        for pairs in (held_out, wrong)
    )
    assert fits > 1 > misses >= 0


def test_two_groups_and_calibration_of_known_densities():
    """Right pairs far above, wrong ones like those dealt anew: shares and q by their definition."""
    rng = np.random.default_rng(4)
    wrong, right = rng.normal(size=700), 10 + rng.normal(size=300)
    judged = evidence.Judged(np.r_[wrong, right], rng.normal(size=(20, 1000)), 1000)
    share, sd = evidence.share_of_right_pairs(judged)
    below = np.mean(judged.log_p < np.median(judged.null))
    assert share == 1 - 2 * below
    np.testing.assert_allclose(sd, 2 * np.sqrt(below * (1 - below) / 1000))
    assert abs(share - 0.3) < 2 * sd
    q = evidence.calibrated(judged)
    assert q[700:].min() > 0.99
    assert q[:700].mean() < 0.05


def test_embeddings_that_are_all_one_tell_nothing():
    """Every pair is as likely as any dealt anew: none is seen to be right."""
    z = np.ones((50, 3)) / np.sqrt(3)
    judged = evidence.judge_in_batches(z, z)
    assert evidence.share_of_right_pairs(judged)[0] < 0.1
    assert evidence.calibrated(judged).max() < 0.1


@pytest.mark.parametrize("most", [100, 250])
def test_many_pairs_are_judged_in_batches(most):
    """Each of 500 embeddings and its noisy copy; 40 % have that of another row."""
    rng = np.random.default_rng(6)
    x = closed_form.unit(rng.normal(size=(500, 16)))
    right = rng.random(500) < 0.6
    y = np.where(right[:, None], x, rng.normal(size=x.shape))
    y = closed_form.unit(y + 0.1 * rng.normal(size=x.shape))
    judged = evidence.judge_in_batches(x, y, most=most)
    assert (judged.log_p.shape, judged.null.shape) == ((500,), (20, 500))
    assert judged.columns == most
    share, sd = evidence.share_of_right_pairs(judged)
    assert abs(share - right.mean()) < 3 * sd
    assert roc_auc_score(right, evidence.calibrated(judged)) > 0.98


def test_a_batch_is_the_plan_of_its_rows_alone():
    """All pairs in one batch: `judge_rows` of all of them, whatever order they are drawn in."""
    x, y = two_sets(n=60)
    whole = evidence.judge_rows(x, y, all_rows(60).pairs)
    found = evidence.judge_in_batches(x, y)
    assert found.weights is None
    np.testing.assert_allclose(found.log_p, whole.log_p, rtol=1e-6, atol=1e-6)
    plan = np.exp(x @ y.T / 0.05)
    for _ in range(evidence.SWEEPS):
        plan /= plan.sum(axis=1, keepdims=True)
        plan /= plan.sum(axis=0)
    np.testing.assert_allclose(whole.log_p, np.log(np.diag(plan)), rtol=1e-6, atol=1e-6)


def test_the_null_of_very_many_pairs_is_bounded(monkeypatch):
    monkeypatch.setattr(evidence, "MOST_DEALT", 300)
    z = closed_form.unit(np.random.default_rng(0).normal(size=(101, 4)))
    assert evidence.judge_in_batches(z, z, most=40).null.shape == (2, 101)


def test_a_null_for_pairs_that_are_known_by_heart():
    """Wrong pairs have learned 4 nats: moved as far, two groups and q are those of before."""
    rng = np.random.default_rng(5)
    wrong, right = rng.normal(size=400), 9 + rng.normal(size=600)
    null = rng.normal(size=(20, 1000))
    fresh = evidence.Judged(np.r_[wrong, right], null, 1000)
    learned = evidence.Judged(np.r_[wrong + 4, right], null, 1000)
    share, _ = evidence.share_of_right_pairs(fresh)
    assert evidence.share_of_right_pairs(learned)[0] > 0.99
    moved = evidence.unlearned(learned, share)
    np.testing.assert_allclose(evidence.share_of_right_pairs(moved)[0], share, atol=0.003)
    np.testing.assert_allclose(moved.null, null + 4, atol=0.2)
    q = evidence.calibrated(moved)
    assert abs(q.mean() - 0.6) < 0.03
    assert roc_auc_score(np.arange(1000) >= 400, q) > 0.98


def test_likelihood_of_held_out_pairs():
    """Half of the pairs at L = m, half impossible: the largest mean of log(π L + 1 - π) is at the
    π where its derivative, (m - 1)/(π m + 1 - π) - 1/(1 - π), is 0."""
    m = 100
    judged = evidence.Judged(np.r_[np.zeros(50), np.full(50, -np.inf)], np.zeros((1, 100)), m)
    share = (m - 2) / (2 * (m - 1))
    want = (np.log(share * m + 1 - share) + np.log(1 - share)) / 2
    np.testing.assert_allclose(evidence.held_out_likelihood(judged), want, atol=1e-3)


def test_sharpness_of_a_permutation_and_of_nothing():
    x = np.eye(5)
    maps = closed_form.Maps(np.zeros(5), np.zeros(5), np.eye(5), np.eye(5))
    assert evidence.sharpness(x, x[::-1], maps) > 0.999
    flat = closed_form.Maps(np.zeros(5), np.zeros(5), np.ones((5, 1)), np.ones((5, 1)))
    np.testing.assert_allclose(evidence.sharpness(x, x, flat), 0.2, rtol=1e-6)
    assert not jax.config.jax_enable_x64


def test_rows_of_a_batch_are_drawn_from_all():
    """Beside 40 given rows of 1,000: each other row as often, whatever its number."""
    rng, chosen, counts = np.random.default_rng(0), np.arange(0, 80, 2), np.zeros(1000)
    for _ in range(300):
        rows = evidence._filled(rng, chosen, 1000, 100)
        assert len(rows) == 100
        assert np.isin(chosen, rows).all()
        counts[rows] += 1
    others = np.delete(counts, chosen)
    expected, sd = 300 * 60 / 960, np.sqrt(300 * 60 / 960)
    assert abs(others[:480].mean() - others[480:].mean()) < 6 * sd / np.sqrt(240)
    assert abs(others.mean() - expected) < 1e-9


def test_mutual_neighbours_and_pairs_by_their_weights(monkeypatch):
    """One round: CCA of (1 - w) of the mean over mutual neighbours and w of that by q, in NumPy."""
    monkeypatch.setattr(evidence, "WARM_SWEEPS", evidence.SWEEPS)
    x, y = two_sets(n=80, noise=0.5)
    given = evidence.Given(np.stack([np.arange(30), np.r_[np.arange(15), 30:15:-1]], axis=1))
    start = closed_form.cca(closed_form.moments(x, y, centre=False))
    fit = evidence.align(x, y, given, start, rotating=(0.1,), rounds=1, correlating=())
    whole = closed_form.Moments(np.zeros(6), np.zeros(6), x.T @ x / 80, y.T @ y / 80, np.eye(6))
    for weight in (0.0, 0.4, 1.0):
        maps = fit.mixed(weight)
        zx, zy = maps.map_x(x), maps.map_y(y)
        cosines, near = zx @ zy.T, []
        for axis in (0, 1):
            near.append(np.sort(cosines, axis=axis).take(range(-10, 0), axis).mean(axis))
        scores = 2 * cosines - near[1][:, None] - near[0]
        best = scores.argmax(axis=1)
        rows = np.flatnonzero(scores.argmax(axis=0)[best] == np.arange(80))
        matched = x[rows].T @ y[best[rows]] / len(rows)
        judged = evidence.judge_rows(zx, zy, given.pairs, deals=evidence.WARM_DEALS)
        q, (of_x, of_y) = evidence.calibrated(judged), given.pairs.T
        paired = (x[of_x] * q[:, None]).T @ y[of_y] / q.sum()
        want = closed_form.cca(whole._replace(xy=(1 - weight) * matched + weight * paired), 0.1)
        found = evidence.mutual(x, y, given, fit, weight, rounds=1)
        ours, theirs = (each.map_x(x) @ each.map_y(y).T for each in (found, want))
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_rows_whose_partner_is_absent_count_nothing():
    """Half of the rows of each side alone: mutual neighbours find the others as well as the plan
    does, in batches too, and better than the 8 pairs."""
    x, y = two_sets(n=450, noise=0.4)
    x, y, given = (
        x[:300],
        y[150:],
        evidence.Given(np.stack([np.arange(150, 158), np.arange(8)], 1)),
    )
    start = closed_form.procrustes(closed_form.moments(x[150:158], y[:8], centre=False))
    fit = evidence.align(x, y, given, start)
    gallery = two_sets(noise=0.4, seed=3)
    plan, whole, drawn = (
        recall(maps, *gallery)
        for maps in (
            fit.maps,
            evidence.mutual(x, y, given, fit, 0.1),
            evidence.mutual(x, y, given, fit, 0.1, most=128),
        )
    )
    pairs = recall(closed_form.cca(closed_form.moments(x[150:158], y[:8], centre=False)), *gallery)
    assert min(whole, drawn) > max(plan - 0.05, pairs + 0.1)
