"""Closed forms from moments, beside scikit-learn's and SciPy's from the rows themselves."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from sklearn.covariance import LedoitWolf
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from gca_jax.models import closed_form

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 5)) @ RNG.normal(size=(5, 5)) + 3.0
Y = X @ RNG.normal(size=(5, 4)) + RNG.normal(size=(300, 4)) - 1e3


def test_moments_in_parts_of_the_rows(monkeypatch):
    """Far from zero too, where a sum of squares would cancel; weights are those of np.cov."""
    monkeypatch.setattr(closed_form, "ROWS_AT_ONCE", 7)
    weights = RNG.integers(0, 3, len(X))
    found = closed_form.moments(X, Y, weights.astype(float))
    both = np.cov(np.hstack([X, Y]).T, fweights=weights, ddof=0)
    np.testing.assert_allclose(found.mean_y, np.average(Y, axis=0, weights=weights), rtol=1e-12)
    np.testing.assert_allclose(found.xx, both[:5, :5], rtol=1e-9)
    np.testing.assert_allclose(found.yy, both[5:, 5:], rtol=1e-9)
    np.testing.assert_allclose(found.xy, both[:5, 5:], rtol=1e-9)
    about_zero = closed_form.moments(X, Y, centre=False)
    np.testing.assert_allclose(about_zero.xy, X.T @ Y / len(X), rtol=1e-9)


def test_procrustes_is_scipys():
    y = X @ np.linalg.qr(RNG.normal(size=(5, 5)))[0] + 0.1 * RNG.normal(size=X.shape)
    rotation, _ = orthogonal_procrustes(X - X.mean(0), y - y.mean(0))
    maps = closed_form.procrustes(closed_form.moments(X, y))
    np.testing.assert_allclose(maps.x, rotation, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(maps.y, np.eye(5))


def test_a_narrower_set_is_filled_up_with_zeros():
    maps = closed_form.procrustes(closed_form.moments(X, Y))
    padded = np.pad(Y - Y.mean(0), ((0, 0), (0, 1)))
    rotation, _ = orthogonal_procrustes(X - X.mean(0), padded)
    got = maps.map_x(X) @ maps.map_y(Y).T
    want = closed_form.unit((X - X.mean(0)) @ rotation) @ closed_form.unit(padded).T
    np.testing.assert_allclose(got, want, atol=1e-9)


def test_ridge_is_scikit_learns():
    found = closed_form.moments(X, Y)
    maps = closed_form.ridge(found, 0.3)
    alpha = 0.3 * np.trace(found.xx) / 5 * len(X)
    want = Ridge(alpha=alpha).fit(X, Y).predict(X) - Y.mean(0)
    np.testing.assert_allclose((X - maps.mean_x) @ maps.x, want, rtol=1e-8)


def test_cca_is_scikit_learns():
    """Canonical correlations, and directions up to their sign and scale."""
    found = closed_form.moments(X, Y)
    maps = closed_form.cca(found, shrink=0.0, power=0.0)
    a, b = (X - maps.mean_x) @ maps.x, (Y - maps.mean_y) @ maps.y
    want_a, want_b = CCA(n_components=4, max_iter=5_000, tol=1e-12).fit(X, Y).transform(X, Y)
    for got, want in ((a, want_a), (b, want_b)):
        correlations = [abs(np.corrcoef(got[:, k], want[:, k])[0, 1]) for k in range(4)]
        np.testing.assert_allclose(correlations, 1, atol=1e-6)
    np.testing.assert_allclose(np.cov(a.T, ddof=0), np.eye(4), atol=1e-9)
    scaled = closed_form.cca(found, shrink=0.0)
    correlations = np.diag(a.T @ b) / len(X)
    np.testing.assert_allclose(np.linalg.norm((X - X.mean(0)) @ scaled.x, axis=0) / len(X) ** 0.5,
                               correlations, rtol=1e-9)  # fmt: skip


def test_components_are_scikit_learns():
    found = closed_form.components(Y, 2)
    want = PCA(n_components=2, svd_solver="full").fit_transform(Y)
    np.testing.assert_allclose(np.abs(found.scores(Y)), np.abs(want), rtol=1e-7, atol=1e-9)
    repeated = np.hstack([X, X])  # ten columns, of which five can be told from the others
    assert closed_form.components(repeated, 10).basis.shape == (10, 5)


def test_trimming_leaves_wrong_pairs_out():
    """Three of five pairs wrong: the rotation of the right ones is found, where all pairs miss."""
    rotation = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
    x = RNG.normal(size=(500, 5))
    y = x @ rotation + 0.01 * RNG.normal(size=x.shape)
    y[:300] = np.roll(y[:300], 1, axis=0)
    plain = closed_form.procrustes(closed_form.moments(x, y)).x
    kept = closed_form.trimmed(x, y).x
    assert np.abs(kept - rotation).max() < 0.02 < np.abs(plain - rotation).max()


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda m: closed_form.identity(*m[:2]), "as many columns on both sides, got 5 and 4"),
        (lambda m: closed_form.cca(m, shrink=2.0), r"shrink must lie in \[0.0, 1.0\]"),
    ],
)
def test_what_is_refused(form, message):
    with pytest.raises(ValueError, match=message):
        form(closed_form.moments(X, Y))


@pytest.mark.parametrize("centre", [True, False])
def test_cca_whitens_with_the_covariance_of_ledoit_and_wolf(centre):
    both = [RNG.normal(size=(40, 8)) * np.arange(1, 9), RNG.normal(size=(40, 5)) + 1]
    shrink = tuple(closed_form.shrinkage(z, centre=centre) for z in both)
    maps = closed_form.cca(closed_form.moments(*both, centre=centre), shrink, power=0)
    for rows, own, basis in zip(both, shrink, (maps.x, maps.y), strict=True):
        found = LedoitWolf(assume_centered=not centre).fit(rows)
        np.testing.assert_allclose(own, found.shrinkage_)
        white = basis.T @ found.covariance_ @ basis
        np.testing.assert_allclose(white, np.eye(5), atol=1e-10)


@pytest.mark.parametrize("axes", [0, 1, 3, 8, 9])
def test_rows_without_their_leading_axes(axes):
    """What is left is the truncated end of the singular value decomposition."""
    rows = RNG.normal(size=(40, 8))
    u, s, vt = np.linalg.svd(rows, full_matrices=False)
    s[:axes] = 0
    np.testing.assert_allclose(closed_form.without_axes(rows, axes), u * s @ vt, atol=1e-10)
