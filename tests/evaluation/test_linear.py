import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.metrics import log_loss

from gca_jax.evaluation import linear


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


def test_a_large_problem_is_solved_nearly_as_well(monkeypatch):
    x, y = blobs(0)
    exact = linear.fit(x, y, 0.3)
    monkeypatch.setattr(linear, "LARGE", x.size - 1)
    model = linear.fit(x, y, 0.3)
    assert model.coef_.dtype == np.float32
    theirs, ours = (log_loss(y, each.predict_proba(x)) for each in (exact, model))
    assert ours == pytest.approx(theirs, rel=1e-2)
    assert model.score(x, y) == pytest.approx(exact.score(x, y), abs=0.01)


def test_one_scale_for_all_features_taken_from_training_alone():
    rng = np.random.default_rng(0)
    train = rng.normal(3.0, [1.0, 10.0], size=(400, 2)).astype(np.float32)
    test = rng.normal(size=(50, 2)).astype(np.float32)
    scale = linear.standardiser(train)
    a, b = scale(train), scale(test)
    np.testing.assert_allclose(a.mean(0), 0, atol=1e-9)
    assert a.var(0).mean() == pytest.approx(1)
    assert a.std(0)[1] / a.std(0)[0] == pytest.approx(train.std(0)[1] / train.std(0)[0], rel=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(b[0] - b[1]) / np.linalg.norm(a[0] - a[1]),
        np.linalg.norm(test[0] - test[1]) / np.linalg.norm(train[0] - train[1]),
        rtol=1e-5,
    )


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
    assert linear.choose_strength(x, y, [fold], strengths) == min(losses, key=losses.__getitem__)
