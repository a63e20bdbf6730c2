"""What fits held-out pairs best is chosen: closed forms of right pairs, the plan of wrong ones."""

import numpy as np
import pytest

from gca_jax.models import choice, closed_form, evidence
from tests.models.test_evidence import N, all_rows, recall, two_sets


def cca_of(x, y):
    return closed_form.cca(closed_form.moments(x, y, centre=False))


def test_two_pairs_are_the_fewest():
    x, y = two_sets(n=30)
    with pytest.raises(ValueError, match="two pairs are the fewest to start from, got 1"):
        choice.choose(x, y, evidence.Given(np.array([[0, 0]])))


def test_folds_hold_every_pair_out_once():
    """100 pairs of 300 rows: five folds, each fitted to the others; 2,000 pairs: one is enough."""
    x, y = two_sets()
    sets = choice._Sets(x, y, evidence.Given(np.stack([np.arange(100)] * 2, axis=1), np.ones(100)))
    folds = [*choice._folds(sets, 0)]
    assert len(folds) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate([f.out[:, 0] for f in folds])), range(100))
    for fold in folds:
        assert not np.intersect1d(fold.sets.given.pairs[:, 0], fold.out[:, 0]).size
        assert len(fold.sets.given.confidence) == len(fold.sets.given.pairs) == 80
    many = choice._Sets(x, y, evidence.Given(np.zeros((2_000, 2), int)))
    assert len([*choice._folds(many, 0)]) == 1


def test_rows_that_candidates_are_compared_on_keep_their_pairs(monkeypatch):
    """The same rows stand at the same pairs, of more rows and pairs than are taken."""
    monkeypatch.setattr(choice, "OTHERS", 60)
    x, y = two_sets()
    pairs = np.array([[250, 3], [7, 299], [120, 120]])
    for most in (evidence.MOST, 2):
        monkeypatch.setattr(evidence, "MOST", most)
        sets = choice._some(x, y, evidence.Given(pairs, pairs[:, 0]), np.random.default_rng(0))
        own = sets.given.pairs
        assert len(sets.x) == len(sets.y) == 60
        assert len(own) == min(most, 3)
        rows = sets.given.confidence  # which row of x each pair was of
        columns = dict(pairs.tolist())
        np.testing.assert_array_equal(sets.x[own[:, 0]], x[rows])
        np.testing.assert_array_equal(sets.y[own[:, 1]], y[[columns[row] for row in rows]])


@pytest.mark.slow
def test_the_plan_is_chosen_where_pairs_are_wrong():
    """80 % wrong: near what all right pairs give; the choice beats each closed form of them."""
    x, y = two_sets()
    given = np.where((np.arange(N) >= 0.8 * N)[:, None], y, np.roll(y, 7, axis=0))
    found = choice.choose(x, given, all_rows())
    assert found.name not in choice.CLOSED_FORMS
    assert str(found).startswith(f"{found.name}: ℓ = {found.likelihoods[found.name]:.3f} nats a")
    assert found.identified
    best = recall(cca_of(x, y), *two_sets(seed=3))
    assert recall(found.maps, *two_sets(seed=3)) > best - 0.05
    forms = [name for name in found.likelihoods if name.split()[0] in ("cca", "ridge", "trimmed")]
    assert len(forms) == 4
    assert max(found.likelihoods[name] for name in forms) < found.likelihoods[found.name]


@pytest.mark.slow
def test_pairs_alone_are_chosen_where_the_plan_is_blind():
    """Rows that are Gaussian noise but for what their pairs share, more of it than there are axes
    to tell apart by the plan: no plan finds a partner, and CCA of right pairs does."""
    rng = np.random.default_rng(5)
    x, turn = rng.normal(size=(400, 12)), np.linalg.qr(rng.normal(size=(12, 12)))[0]
    y = x @ turn + 3 * rng.normal(size=x.shape)
    x, y = closed_form.unit(x), closed_form.unit(y)
    found = choice.choose(x[:300], y[:300], all_rows())
    assert found.name != "evidence 0"
    assert found.likelihoods[found.name] > found.likelihoods["evidence 0"]
    plan, pairs = (recall(maps, x[300:], y[300:]) for maps in (found.fit.mixed(0.0), found.maps))
    assert pairs >= plan


@pytest.mark.slow
def test_a_dozen_pairs_are_judged_by_the_plan():
    """Fewer pairs than a choice needs: found by sharpness, and said to be identified or not."""
    x, y = two_sets()
    found = choice.choose(x, y, evidence.Given(np.stack([np.arange(12)] * 2, axis=1)))
    assert found.likelihoods == {}
    assert found.unmatched is not None
    assert recall(found.maps, *two_sets(seed=3)) > recall(cca_of(x, y), *two_sets(seed=3)) - 0.1
    rng = np.random.default_rng(6)
    noise = [closed_form.unit(rng.normal(size=(N, 6))) for _ in range(2)]
    lost = choice.choose(*noise, evidence.Given(np.array([[0, 0], [1, 1], [2, 2]])))
    assert not lost.identified
    assert str(lost).endswith("fewest to choose by; partners are not told from chance")


def test_a_mixture_is_cca_of_the_mixed_moments():
    """Weight 1 is CCA with the cross moments of the pairs by q alone, in NumPy."""
    x, y = two_sets(n=80)
    given = evidence.Given(np.stack([np.arange(20)] * 2, axis=1))
    start = closed_form.procrustes(closed_form.moments(x[:20], y[:20], centre=False))
    fit = evidence.align(x, y, given, start, rotating=(0.1,), rounds=1, correlating=())
    q = fit.posterior
    xy = (x[:20] * q[:, None]).T @ y[:20] / q.sum()
    np.testing.assert_allclose(fit.of_pairs, xy, atol=1e-12)
    want = closed_form.cca(
        closed_form.Moments(np.zeros(6), np.zeros(6), x.T @ x / 80, y.T @ y / 80, xy)
    )
    np.testing.assert_allclose(fit.mixed(1.0).x, want.x, atol=1e-9)
    half = fit.moments._replace(xy=(fit.moments.xy + xy) / 2)
    np.testing.assert_allclose(fit.mixed(0.5).y, closed_form.cca(half).y, atol=1e-9)
    with pytest.raises(ValueError, match="weight must lie"):
        fit.mixed(1.5)


def test_mixtures_are_judged_by_fits_that_have_not_seen_the_held_out_pairs(monkeypatch):
    """A perfect fit of the first fold does not serve the folds after it, which take its start."""
    x, y = two_sets()
    fits, seen, asked = [], [], []

    def fits_of(sets, seed, only):
        asked.append(only)
        for name in [only] if only else ["pairs", "profiles"]:
            first = not only and name == "profiles"
            moments = closed_form.moments(x, y if first else y[::-1], centre=False)
            posterior = np.ones(len(sets.given.pairs))
            maps = closed_form.cca(moments)
            fits.append(evidence.Fit(maps, 0.5, posterior, moments, moments.xy))
            yield name, fits[-1]

    add = choice._Found.add
    monkeypatch.setattr(choice, "_fits", fits_of)
    monkeypatch.setattr(choice._Found, "add", lambda *a: seen.append(a[2]) or add(*a))
    choice.choose(x, y, evidence.Given(np.stack([np.arange(100)] * 2, axis=1)), closed_forms=False)
    perfect = fits[1].mixed(0.0).x
    uses = [i for i, maps in enumerate(seen) if np.array_equal(maps.x, perfect)]
    assert uses
    assert max(uses) < 2 + 2 * len(choice.MIXED)  # those of the first fold
    assert asked == ["", *["profiles"] * 4]
