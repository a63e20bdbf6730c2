"""RINCE of two towers that have moved apart: what `aux` says, and that no gradient is left."""

import io
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tqdm import tqdm

from gca_jax import losses
from gca_jax.training import log
from gca_jax.workdir import RunFolder
from tests import reference, toy


def scores_of(z_a, z_b, epsilon):
    return reference.unit(z_a) @ reference.unit(z_b).T / epsilon


def opposite(n=6, d=4, noise=0.05):
    """Two towers that have collapsed: each to a point, opposite to the other's."""
    rng = np.random.default_rng(0)
    point = rng.normal(size=d)
    return point + noise * rng.normal(size=(n, d)), -point + noise * rng.normal(size=(n, d))


@pytest.mark.parametrize("name", ["rince", "gca_rince"])
def test_towers_that_moved_apart_are_repelled_without_a_gradient(name):
    hyper = dict(epsilon=0.1, q=0.98, lam=0.5)
    views = jnp.asarray(opposite())
    loss = losses.METHODS[name]

    def value(views):
        value, aux = loss(*views, **hyper)
        return value, aux["repelled"]

    slopes, share = jax.jit(jax.grad(value, has_aux=True))(views)
    assert share == 1.0
    if name == "rince":
        moved, free = (
            toy.gradient(lambda z: reference.rince_paper(*z, **hyper), np.asarray(z), step=1e-3)
            for z in (views, toy.batch(0, n=6))
        )
        assert np.linalg.norm(moved) < 1e-3 < np.linalg.norm(free)
        np.testing.assert_allclose(slopes, moved, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("layout", ["cross", "joint"])
@pytest.mark.parametrize(("iterations", "lam"), [(1, 0.01), (3, 0.2)])
def test_the_share_is_that_of_pairs_below_zero_whose_scores_fall(layout, iterations, lam):
    """From the slope of each row's part of the loss as all of its scores rise."""
    z_a, z_b = toy.batch(3, n=40, d=3, noise=2.0)
    hyper = dict(epsilon=0.3, q=0.7, lam=lam, layout=layout, iterations=iterations)

    @jax.jit
    def run(z_a, z_b):
        _, aux = losses.gca_rince(z_a, z_b, keep_plan=True, **hyper)
        return aux["repelled"], aux["plan"].log_v

    share, log_v = run(z_a, z_b)
    v = np.exp(np.asarray(log_v, np.float64))
    if layout == "joint":
        z_a, z_b = np.concatenate([z_a, z_b]), np.concatenate([z_a, z_b])
    s = scores_of(z_a, z_b, 0.3)
    n = len(s)
    partner = np.arange(n) if layout == "cross" else np.roll(np.arange(n), n // 2)
    repelled = []
    for i in range(n):
        others = [j for j in range(n) if layout == "cross" or j != i]

        def part(c, i=i, others=others):
            powers = np.exp(s[i] + c) * v
            return (lam * powers[others].sum()) ** 0.7 / 0.7 - powers[partner[i]] ** 0.7 / 0.7

        repelled.append(part(1e-4) > part(-1e-4) and s[i, partner[i]] < 0)
    assert float(share) == pytest.approx(np.mean(repelled))
    assert lam < 0.1 or 0 < np.mean(repelled) < 1


@pytest.mark.usefixtures("unchecked")
def test_the_log_warns_once_of_a_collapse(tiny, tmp_path, capsys):
    config = tiny("rince")
    data = types.SimpleNamespace(unit="pairs")
    experiment = types.SimpleNamespace(config=config, train=config.train, data=data)
    row = dict.fromkeys(("loss", "gradient_norm", "parameter_norm"), jnp.ones(()))
    training = types.SimpleNamespace(
        experiment=experiment, total_steps=110, steps_per_epoch=3, learning_rate=lambda step: 0.1,
        metrics={*row, "repelled"}, is_logged=lambda step: step % 3 == 0,
    )  # fmt: skip
    bar = tqdm(total=120, file=io.StringIO())
    with log.Log(training, lambda: "", RunFolder(tmp_path), 0, bar) as written:
        for step in range(1, 111):
            share = 0.2 if step == 30 else 1.0
            written(step, None, {**row, "repelled": jnp.asarray(share)})
        written.flush()
    said = capsys.readouterr().err
    assert said.count("warning: RINCE has collapsed at step 80: for 50 steps nearly all") == 1
    assert said.count("warning") == 1
    assert "lower --config.loss.lam (below 1/472, one over the batch size)" in said


def test_a_common_point_and_good_pairs_are_not_repelled():
    z_a, z_b = toy.batch(0, n=8, d=6, noise=0.1)
    repelled = jax.jit(lambda *views: losses.rince(*views, lam=0.9)[1]["repelled"])
    for views in ((z_a, z_b), (np.ones((8, 6)), np.ones((8, 6)))):
        assert repelled(*views) == 0.0
