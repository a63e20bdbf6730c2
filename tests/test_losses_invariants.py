"""One table: all methods x what must hold of each, whatever its equation is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ott.geometry import costs

from gca_jax import losses
from tests import reference, toy

pytestmark = pytest.mark.slow

METHODS = list(losses.METHODS)
N = 8
WEIGHTED = np.diag(np.linspace(0.2, 1.0, N, dtype=np.float32))
WEIGHTED_JOINT = np.float32(reference.weighted(np.diag(WEIGHTED), "joint"))
ROWS = np.float32(np.arange(1, N + 1) / np.arange(1, N + 1).sum())

# keyword -> (the setting to start from, the keyword's other value); the last three by layout
CHANGES_OF = {
    "epsilon": ({}, 0.3),
    "similarity_floor": ({}, 0.1),
    "self_pairs": ({"layout": "joint"}, "max_cost"),
    "precision": ({}, "bfloat16"),
    "cost_fn": ({}, costs.SqEuclidean()),
    "iterations": ({"iterations": 1}, 2),
    "q": ({}, 0.5),
    "lam": ({}, 0.1),
    "phi": ({}, "tan"),
    "lam_p": ({}, 1.0),
    "penalty_a": ({}, 0.5),
    "penalty_b": ({}, 0.5),
    "w_kl": ({}, 0.5),
    "w_rince": ({}, 0.5),
    "mass": ({}, "total"),
    "penalise_marginals": ({}, True),
}
CROSS = {
    "layout": ({}, "joint"),
    "target": ({}, WEIGHTED),
    "mu": ({}, ROWS),
    "nu": ({"iterations": 2}, ROWS),
    "marginals": ({"target": WEIGHTED}, "uniform"),
}
JOINT = {
    "layout": ({}, "cross"),
    "target": ({}, WEIGHTED_JOINT),
    "mu": ({}, np.tile(ROWS / 2, 2)),
    "nu": ({"iterations": 2}, np.tile(ROWS / 2, 2)),
    "marginals": ({"target": WEIGHTED_JOINT}, "uniform"),
}
# which derivative and how far (tests/test_losses_gradients.py), how it is run (tests/test_modes.py)
# and which pairs count (tests/test_losses_valid.py)
HOW = {
    "gradient",
    "until",
    "domain",
    "block_size",
    "axis_name",
    "epsilon_min",
    "diagnose",
    "keep_plan",
    "valid",
    "ignore",
}


def changes(name):
    """Each keyword of a method that must change its value; a new keyword needs a line above."""
    keywords = losses.keywords(name)
    table = CHANGES_OF | (JOINT if keywords.get("layout") == "joint" else CROSS)
    found = {key: table[key] for key in keywords.keys() - HOW}
    if "layout" not in keywords:  # no self-pairs in the one layout that it has
        found.pop("self_pairs", None)
    if "iterations" not in keywords and "nu" in found:
        found["nu"] = ({}, found["nu"][1])
    return found


def batch(seed=0, n=N, d=3):
    return tuple(jnp.asarray(z, jnp.float32) for z in toy.batch(seed, n=n, d=d))


def run(name, views, **words):
    return losses.METHODS[name](*views, **words)


@pytest.fixture(scope="module", params=METHODS)
def name(request):
    """The row of the table; of module scope, so that a method's tests follow one another."""
    return request.param


@functools.cache
def compiled(name):
    """A method at its defaults, compiled once: value and aux, and gradient."""
    return jax.jit(jax.value_and_grad(lambda views: run(name, views), has_aux=True))


NUMBERS = {"epsilon", "q", "lam", "lam_p", "penalty_a", "penalty_b", "w_kl", "w_rince"}


@functools.cache
def traced(name, words):
    """The loss as a jitted function of its numbers and arrays; `words` are the rest."""
    return jax.jit(lambda views, numbers: run(name, views, **dict(words), **numbers)[0])


def test_every_hyper_parameter_changes_the_value(name):
    views = batch(2)
    keywords = losses.keywords(name)
    defaults = {k: keywords[k] for k in NUMBERS & set(keywords)}

    def value(hyper):
        arrays = {k: v for k, v in hyper.items() if k in NUMBERS or isinstance(v, np.ndarray)}
        words = tuple(sorted((k, v) for k, v in hyper.items() if k not in arrays))
        return float(traced(name, words)(views, defaults | arrays))

    for keyword, (start, other) in changes(name).items():
        before, after = value(start), value(start | {keyword: other})
        assert np.isfinite(after), keyword
        assert abs(after - before) > 1e-5 * abs(before), keyword


def test_jit_is_eager_with_scalar_aux(name):
    views = batch(1)
    (value, aux), _ = compiled(name)(views)
    eager, eager_aux = run(name, views)
    np.testing.assert_allclose(value, eager, rtol=2e-6)
    expected = {"alignment"} if name == "byol" else {"alignment", "residual", "mass", "overflow"}
    assert set(aux) == set(eager_aux) >= expected
    for key, number in aux.items():
        assert np.shape(number) == (), key
        np.testing.assert_allclose(number, eager_aux[key], rtol=1e-4, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", ["byol", "clip", "rince", "gca_uot", "iot_uni"])
def test_vmap_is_a_loop(name):
    stacked = [jnp.stack(views) for views in zip(*(batch(seed) for seed in range(3)), strict=True)]
    values = jax.jit(jax.vmap(lambda a, b: run(name, (a, b))[0]))(*stacked)
    loop = [compiled(name)(batch(seed))[0][0] for seed in range(3)]
    np.testing.assert_allclose(values, np.array(loop), rtol=1e-5)


def test_order_rotation_and_length_of_embeddings_do_not_matter(name):
    z_a, z_b = batch(3)
    value = compiled(name)((z_a, z_b))[0][0]
    order = np.random.default_rng(1).permutation(N)
    rotation = jnp.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0])
    lengths = jnp.geomspace(0.1, 20.0, N)[:, None]
    changed = {
        "order of the pairs": (z_a[order], z_b[order]),
        "rotation": (z_a @ jnp.float32(rotation), z_b @ jnp.float32(rotation)),
        "lengths": (z_a * lengths, z_b / lengths),
    }
    if name in ("simclr", "clip", "iot_uni", "byol"):
        changed["swapped views"] = (z_b, z_a)
    for what, views in changed.items():
        np.testing.assert_allclose(compiled(name)(views)[0][0], value, rtol=2e-5, err_msg=what)


def test_gradients_are_orthogonal_to_the_embeddings(name):
    """Normalised inside: no loss can fall by stretching an embedding."""
    views = batch(4)
    _, slopes = compiled(name)(views)
    for z, slope in zip(views, slopes, strict=True):
        size = np.linalg.norm(z, axis=1) * np.linalg.norm(slope, axis=1)
        np.testing.assert_array_less(np.abs(np.sum(z * slope, axis=1)), 1e-4 * size)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_the_embeddings_dtype(name, dtype):
    """The value is that of the embeddings as rounded, in float32; the gradient has their dtype."""
    views = tuple(z.astype(dtype) for z in batch(5))
    (value, _), slopes = compiled(name)(views)
    assert value.dtype == jnp.float32
    want = reference.METHODS[name](*(np.asarray(z, np.float64) for z in views))
    np.testing.assert_allclose(value, want, rtol=1e-5, atol=1e-6)
    for slope in slopes:
        assert slope.dtype == dtype
        slope = np.asarray(slope, np.float32)
        assert np.isfinite(slope).all()
        assert np.abs(slope).max() > 0
