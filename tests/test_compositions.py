"""Losses in every pair of JAX's transformations: the plain call's value and gradient.

Each unordered pair is there once, as one of its two orders, but for `export`, which is the outer
one: JAX exports whole programs. Methods and modes are spread over the pairs: each meets every
transformation, or all but one. What a transformation does by loops in Python is its plain version.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gca_jax import losses
from tests import toy

pytestmark = pytest.mark.slow

DEVICES, N = 2, 8
ROWS, WHOLE = PartitionSpec("data"), PartitionSpec()


def mesh():
    kinds, devices = (AxisType.Auto,), jax.devices()[:DEVICES]
    return jax.make_mesh((DEVICES,), ("data",), axis_types=kinds, devices=devices)


def batches(a, b):
    """Two batches, of which the second has its columns in another order."""
    return jnp.stack([a, a[:, ::-1]]), jnp.stack([b, b])


def total(tree):
    """A number of all outputs, each with a weight of its own."""
    leaves = [jnp.ravel(x) for x in jax.tree.leaves(tree)]
    return sum(jnp.vdot(x, jnp.cos(jnp.arange(x.size, dtype=x.dtype))) for x in leaves)


def scanned(f):
    def step(carry, batch):
        out = f(*batch)
        return carry + total(out), out

    return lambda a, b: jax.lax.scan(step, jnp.zeros(()), batches(a, b))


def scanned_plainly(f):
    def loop(a, b):
        outs = looped(f)(a, b)
        return sum(total(jax.tree.map(lambda x, i=i: x[i], outs)) for i in range(2)), outs

    return loop


def looped(f):
    def loop(a, b):
        outs = [f(*batch) for batch in zip(*batches(a, b), strict=True)]
        return jax.tree.map(lambda *xs: jnp.stack(xs), *outs)

    return loop


def exported(f):
    def call(a, b):
        shapes = [jax.ShapeDtypeStruct(z.shape, z.dtype) for z in (a, b)]
        is_gradient = jax.tree.leaves(jax.eval_shape(f, a, b))[0].shape == a.shape
        data = jax.export.export(jax.jit(f))(*shapes).serialize(vjp_order=int(not is_gradient))
        return jax.export.deserialize(data).call(a, b)

    return call


def branch(f):
    def call(a, b):
        zeros = lambda a, b: jax.tree.map(jnp.zeros_like, f(a, b))  # noqa: E731
        return jax.lax.cond(jnp.asarray(True), f, zeros, a, b)

    return call


def same(f):
    return f


def split(f, gradient):
    """`shard_map` over rows; a value, or one of each batch, is the same on all devices."""
    out = ROWS if gradient else WHOLE
    return jax.shard_map(f, mesh=mesh(), in_specs=(ROWS, ROWS), out_specs=out)


GRADIENTS = ("grad", "jacrev")
WAYS = {  # the transformation of a function of two batches, and what it does in plain Python
    "jit": (jax.jit, same),
    "vmap": (lambda f: lambda a, b: jax.vmap(f)(*batches(a, b)), looped),
    "grad": (lambda f: jax.grad(lambda a, b: total(f(a, b))),) * 2,
    "jacrev": (jax.jacrev,) * 2,
    "scan": (scanned, scanned_plainly),
    "checkpoint": (jax.checkpoint, same),
    "shard_map": (None, same),  # `split`
    "pmap": (lambda f: lambda a, b: jax.pmap(f)(*batches(a, b)), looped),
    "lax.map": (lambda f: lambda a, b: jax.lax.map(lambda z: f(*z), batches(a, b)), looped),
    "cond": (branch, same),
    "export": (exported, same),
}
# The pairs of a colour of the complete graph, in which each transformation stands once, have one
# method, or two that are alike in turn.
COLOURS = [
    *(("ince", "gce"), ("gca_ince", "gca_gce"), ("rince", "rcl"), ("gca_rince",), ("gca_uot",)),
    *(("simclr",), ("clip",), ("byol",), ("iot",), ("iot_uni",), ("gca_uot",)),
]
MODES = ({}, {"block_size": 3})
ORDERED = {("shard_map", "pmap"): ("pmap", "shard_map")}  # which the package refuses
PAIRS = {}
for i, j in itertools.combinations(range(len(WAYS)), 2):
    first, second = (list(WAYS)[k] for k in (i, j))
    names = (first, second) if (i + j) % 2 and second != "export" else (second, first)
    methods = COLOURS[(i + j) % 11]
    PAIRS[ORDERED.get(names, names)] = methods[j % len(methods)], MODES[(j - i) % 3 % 2]


def loss(name, mode, axis_name=None, method=None):
    """A method's value as a function of two batches."""
    words = {} if name == "byol" else mode
    if "iterations" in losses.keywords(name):
        words = words | {"iterations": 2}
    if axis_name is not None and name != "byol":
        words = words | {"axis_name": axis_name}
    method = losses.METHODS[name] if method is None else method

    def value(a, b):
        out = method(a, b, **words)[0]
        return jax.lax.pmean(out, axis_name) if axis_name and name == "byol" else out

    return value


@functools.cache
def plain(name):
    """The method's value, compiled once for all pairs."""
    return jax.jit(loss(name, {}))


def composed(outer, inner, name, mode):
    """The pair of transformations of a method's value."""
    if inner == "shard_map":
        f = loss(name, mode, method=losses.sharded(name, mesh()))
    elif outer == "shard_map":
        return split(WAYS[inner][0](loss(name, mode, "data")), inner in GRADIENTS)
    else:
        f = WAYS[inner][0](loss(name, mode))
    return WAYS[outer][0](f)


def evaluated(f, pair, views):
    """The outputs, and the gradient of their total, unless they are gradients."""
    if set(pair) & set(GRADIENTS):
        return f(*views)
    return jax.value_and_grad(lambda *z: total(f(*z)), argnums=(0, 1))(*views)


def test_every_method_meets_every_mode_and_every_transformation_in_both_places():
    assert len(PAIRS) == 55
    assert {names[0] for names in PAIRS} == set(WAYS)
    assert {names[1] for names in PAIRS} == set(WAYS) - {"export"}
    met = {(way, name) for pair, (name, _) in PAIRS.items() for way in pair}
    assert len(met) >= 10 * len(WAYS) - 10
    assert len({(name, *mode) for name, mode in PAIRS.values()}) == 2 * len(losses.METHODS)


@pytest.mark.parametrize("pair", PAIRS, ids=" of ".join)
def test_a_pair_of_transformations_is_the_plain_call(pair):
    name, mode = PAIRS[pair]
    views = [jnp.asarray(z, jnp.float32) for z in toy.batch(0, n=N, d=3)]
    if pair == ("pmap", "shard_map"):
        with pytest.raises(ValueError, match=r"inside pmap or shard_map call .* with axis_name="):
            composed(*pair, name, mode)(*views)
        return
    if pair in (("export", "shard_map"), ("export", "pmap")):  # a program for two devices
        views = jax.device_put(views, NamedSharding(mesh(), WHOLE))
    got = jax.jit(lambda *z: evaluated(composed(*pair, name, mode), pair, z))(*views)
    alone = WAYS[pair[0]][1](WAYS[pair[1]][1](plain(name)))
    want = evaluated(alone, pair, jax.device_get(views))
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
