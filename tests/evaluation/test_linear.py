import copy

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from gca_jax.data.memory import arrays
from gca_jax.evaluation import knn, linear, softmax
from gca_jax.evaluation.result import Labelled
from gca_jax.evaluation.splits import Settings


def blobs(seed, n=120, classes=3, spread=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return rng.normal(size=(classes, 5))[labels] * 1.5 + rng.normal(size=(n, 5)) * spread, labels


def test_the_probe_minimises_its_documented_objective():
    x, y = blobs(0)
    strength = 0.3

    def objective(flat):
        w, b = flat[:15].reshape(5, 3), flat[15:]
        scores = x @ w + b
        cross_entropy = (logsumexp(scores, axis=1) - scores[np.arange(len(y)), y]).sum()
        return strength * cross_entropy + (w**2).sum() / 2

    best = minimize(objective, np.zeros(18), options={"gtol": 1e-6})
    model = linear.fit(x, y, strength)
    ours = objective(np.concatenate([model.coef_.T.ravel(), model.intercept_]))
    assert ours == pytest.approx(best.fun, rel=1e-5)


def test_probes_are_fitted_to_classes_of_any_size():
    """A class of one image, whose test images are there to be found, and one of three."""
    x, y = blobs(0, n=126, spread=0.1)
    kept = np.concatenate([np.flatnonzero(y == k)[:count] for k, count in enumerate((40, 1, 3))])
    train, test = Labelled(x[kept], y[kept]), Labelled(*blobs(0, n=126, spread=0.1))
    settings = Settings(0, 10, 2, 0.1, (1.0, 100.0), (1, 3))
    with pytest.raises(ValueError, match="fewer than two classes"):
        linear.score(train, test, settings)
    more = Labelled(np.r_[x[kept], x[y == 2][:20]], np.r_[y[kept], [2] * 20])
    for score in (linear.score, linear.score_few, knn.score):
        assert score(more, test, settings).accuracy > 0.9
    images = np.zeros((len(more.labels), 4, 4), np.uint8)
    given = dict(test_images=images[:2], test_labels=["a", "b"], name="rare")
    data = arrays(images, np.array(["a", "b", "c"])[more.labels], **given)
    assert [*linear._shortages(data, settings)] == [
        "1 class (b) has fewer than 10 training images: a probe on 10 labels a class takes those "
        "that there are",
        "1 class (b) has too few training images to hold out 10% of them: settings of probes are "
        "chosen without them",
    ]


def gradient(model, x, y, strength):
    """Of the mean loss with respect to weights [f, k] and intercepts [k], in float64."""
    if len(model.classes_) == 2:
        p = 1 / (1 + np.exp(-(x @ model.coef_.astype(float).T + model.intercept_)))
        error = p - (y == model.classes_[1])[:, None]
    else:
        scores = x @ model.coef_.astype(float).T + model.intercept_
        p = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
        error = p - (y[:, None] == model.classes_)
    return x.T @ error / len(x) + model.coef_.T / (strength * len(x)), error.mean(axis=0)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_large_problem_has_scikit_learn_s_solution(monkeypatch, classes):
    """Weak and strong penalties, one after the other; features of very unequal variance."""
    x, y = blobs(0, classes=classes)
    x, y = x * [3.0, 1.0, 0.3, 0.1, 0.0], 2 * y + 1  # a constant feature, classes 1, 3, 5
    strengths = (0.03, 1.0, 30.0)
    monkeypatch.setattr(linear, "TOLERANCE", 1e-6)
    exact = [copy.deepcopy(model) for model in linear.path(x, y, strengths)]
    monkeypatch.setattr(linear, "LARGE", x.size - 1)
    for theirs, ours, strength in zip(exact, linear.path(x, y, strengths), strengths, strict=True):
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(
            ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-2, atol=1e-4
        )
        for part in gradient(ours, x, y, strength):
            assert np.abs(part).max() < 3e-6


def test_a_large_problem_ends_at_the_tolerance_or_at_the_last_iteration():
    x, y = blobs(1)
    (loose,) = softmax.path(x, y, [1.0], tolerance=1e-2, most=100)
    assert 1e-4 < max(np.abs(part).max() for part in gradient(loose, x, y, 1.0)) < 1e-2
    (short,) = softmax.path(x, y, [1.0], tolerance=1e-9, most=2)
    assert short.n_iter_ == [2]


def test_one_scale_for_all_features_taken_from_training_alone():
    rng = np.random.default_rng(0)
    train = rng.normal(3.0, [1.0, 10.0], size=(400, 2)).astype(np.float32)
    test = rng.normal(size=(50, 2)).astype(np.float32)
    scale = linear.standardiser(train)
    mean = train.astype(float).mean(axis=0)
    one = np.sqrt(train.astype(float).var(axis=0).mean())
    for part in (train, test):
        np.testing.assert_allclose(scale(part), (part - mean) / one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("features", "message"),
    [(np.full((4, 2), 0.1), "same for every"), (np.full((4, 2), np.nan), "must be finite")],
)
def test_features_that_cannot_be_probed_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        linear.standardiser(features)


def test_features_that_are_not_finite_are_refused_later_too():
    scale = linear.standardiser(np.eye(3))
    with pytest.raises(ValueError, match="must be finite"):
        scale(np.array([[0.0, np.inf, 0.0]]))


def test_the_strength_chosen_has_the_lowest_held_out_loss():
    x, y = blobs(2, spread=6.0)
    fold = (np.arange(0, 120, 2), np.arange(1, 120, 2))
    strengths = [100.0, 1e-3, 0.1]
    losses = {}
    for strength in strengths:
        model = linear.fit(x[fold[0]], y[fold[0]], strength)
        p = model.predict_proba(x[fold[1]])
        losses[strength] = -np.log(p[np.arange(60), y[fold[1]]]).mean()
    assert linear.choose_c(x, y, [fold], strengths) == min(losses, key=losses.__getitem__)
