"""A batch split over devices has the loss, the gradient and the diagnostics of one device."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gca_jax import losses, ot
from tests import processes, toy
from tests.test_modes import CASES, N

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_parts")]

ROWS, WHOLE = PartitionSpec("data"), PartitionSpec()


def mesh(devices=8):
    return jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )


def value_and_gradient(loss, hyper, views):
    step = jax.value_and_grad(lambda views: loss(*views, diagnose=True, **hyper), has_aux=True)
    return jax.jit(step)(views)


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "case",
    [
        *("ince blocks", "gca_ince array", "gca_ince envelope", "gca_rince"),
        *("gca_uot eq. 9", "gca_uot per sample", "gca_uot continuous joint"),
        *("gca_uot self-weighted joint", "iot_uni", "clip", "gce classes", "rcl blocks"),
        "gca_ince evidence",
    ],
)
def test_every_method_over_eight_devices(case):
    name, make = CASES[case]
    views = toy.batch(3, n=N, d=4)
    with jax.enable_x64(True):
        hyper = make()
        want = value_and_gradient(losses.METHODS[name], hyper, views)
        assert_same(value_and_gradient(losses.sharded(name, mesh()), hyper, views), want)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("gca_uot", AxisType.Explicit), ("gca_uot", AxisType.Auto), ("byol", AxisType.Explicit)],
)
def test_both_kinds_of_mesh_and_a_second_axis(name, kind):
    """JAX's default axes are Explicit; rows may come split, and go to a plain loss too."""
    two = jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind,) * 2)
    views = tuple(x.astype(np.float32) for x in toy.batch(3, n=16, d=4))
    split = jax.device_put(views, NamedSharding(two, ROWS))
    want = value_and_gradient(losses.METHODS[name], {}, views)
    over_rows = losses.sharded(name, two)
    for loss, given in ((over_rows, views), (over_rows, split), (losses.METHODS[name], split)):
        got = value_and_gradient(loss, {}, given)
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-6)


def test_an_axis_that_the_mesh_does_not_have():
    with pytest.raises(ValueError, match="axis_name must be one of data; got 'rows'"):
        losses.sharded("ince", mesh(), "rows")


@pytest.mark.parametrize("case", ["gca_ince blocks joint", "iot_uni"])
def test_blocks_of_rows_on_each_device(case):
    name, make = CASES[case]
    views = toy.batch(3, n=N, d=4)
    with jax.enable_x64(True):
        hyper = make() | {"layout": "joint", "block_size": 3}  # of four rows on each device
        (value, aux), gradient = value_and_gradient(losses.METHODS[name], hyper, views)
        got = value_and_gradient(losses.sharded(name, mesh(4)), hyper, views)
        assert got[0][1]["block_size"] == 3
        assert_same(got, ((value, aux), gradient))


def test_without_jit_it_is_compiled_once(caplog):
    """`shard_map` by itself would compile each operation of each call."""
    views = tuple(jnp.asarray(z, jnp.float32) for z in toy.batch(0, n=8, d=4))
    split = losses.sharded("ince", mesh(2))
    domains = np.arange(8) % 3

    def gradient(loss):
        target = ot.target.blocks(domains, alpha=0.5)
        return jax.grad(lambda a: loss(a, views[1], target=target)[0])(views[0])

    np.testing.assert_allclose(gradient(split), gradient(losses.ince), rtol=1e-4, atol=1e-6)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        gradient(split)
    assert not [record for record in caplog.messages if "_over_rows" in record]


def test_embeddings_of_unequal_number():
    z_a, z_b = toy.batch(0, n=4, m=8)
    with jax.enable_x64(True):
        hyper = {"marginals": "uniform", "iterations": 3}
        want = value_and_gradient(losses.gca_ince, hyper, (z_a, z_b))
        split = losses.sharded("gca_ince", mesh(4))
        assert_same(value_and_gradient(split, hyper, (z_a, z_b)), want)


def test_inside_a_users_own_shard_map():
    """The axis's name is enough, and the gradient may be taken inside."""
    views = tuple(jnp.asarray(z) for z in toy.batch(1, n=N, d=4))

    def gradient(a, b, **words):
        return jax.grad(lambda a, b: losses.gca_uot(a, b, **words)[0], argnums=(0, 1))(a, b)

    inside = jax.shard_map(
        lambda a, b: gradient(a, b, axis_name="data"),
        mesh=mesh(),
        in_specs=(ROWS, ROWS),
        out_specs=(ROWS, ROWS),
    )
    for got, want in zip(jax.jit(inside)(*views), jax.jit(gradient)(*views), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-6)


def test_what_the_compiler_partitions_itself():
    """In the log domain, and without `sharded`, a batch split by `jit` has the same loss."""
    views = toy.batch(2, n=16, d=4)
    two = mesh(2)  # hundreds of sweeps, each with messages: eight devices on few cores are slow
    split = NamedSharding(two, ROWS)
    with jax.enable_x64(True):
        for name, hyper in (
            ("gca_ince", {"epsilon": 0.02}),
            ("gca_ince", {"until": 1e-8, "gradient": "implicit"}),
            ("gca_uot", {"layout": "joint"}),
        ):
            want = value_and_gradient(losses.METHODS[name], hyper, views)
            placed = tuple(jax.device_put(z, split) for z in views)
            assert_same(value_and_gradient(losses.METHODS[name], hyper, placed), want)
            assert_same(value_and_gradient(losses.sharded(name, two), hyper, placed), want)


def compiled(name, n, d, devices, **hyper):
    """A sharded loss and its gradient, compiled for a batch of n views."""
    split = NamedSharding(mesh(devices), ROWS)
    loss = losses.sharded(name, mesh(devices))
    step = jax.value_and_grad(lambda a, b: loss(a, b, **hyper)[0], argnums=(0, 1))
    z = jax.ShapeDtypeStruct((n // 2, d), jnp.float32)
    return jax.jit(step, in_shardings=(split, split), out_shardings=(None, (split, split))).lower(
        z, z
    )


@pytest.mark.parametrize("name", ["simclr", "gca_uot"])
def test_no_device_has_the_whole_kernel_and_no_message_is_large(name):
    n, d = 1024, 32
    step = compiled(name, n, d, 8, layout="joint").compile()
    text = step.as_text()
    assert f"f32[{n},{n}]" not in text
    assert f"f32[{n // 8},{n}]" in text
    assert step.memory_analysis().temp_size_in_bytes <= 4 * (3.1 * n * n / 8 + 12 * n * d)
    moved = [
        np.prod([int(x) for x in shape.split(",") if x], initial=1)
        for line in re.findall(r"= (.*) (?:all|reduce|collective)-[a-z-]+\(", text)
        for shape in re.findall(r"[a-z]\d+\[([\d,]*)\]", line)
    ]
    large = [size for size in moved if size > n]
    assert large.count(n * d) == 1  # the embeddings, once
    assert all(size in (n * d, n * d // 8) for size in large)  # and their gradients, scattered


@pytest.mark.usefixtures("unchecked")
def test_bad_batches_are_refused():
    z = np.ones((6, 3))
    with pytest.raises(ValueError, match="multiple of 4 rows"):
        losses.sharded("gca_ince", mesh(4))(z, z)
    with pytest.raises(ValueError, match="one of byol"):
        losses.sharded("infonce", mesh(4))
    with pytest.raises(ValueError, match="axis_name='data' names no axis here"):
        losses.gca_ince(z, z, axis_name="data")
    for words, says in (
        ({"epsilon": 0.01}, "needs the scaling domain"),
        ({"until": 1e-6, "gradient": "implicit"}, "takes no axis_name"),
    ):

        def inside(z, words=words):
            return losses.gca_ince(z, z, axis_name="data", **words)[0]

        with pytest.raises(ValueError, match=says):
            jax.jit(jax.shard_map(inside, mesh=mesh(2), in_specs=ROWS, out_specs=WHOLE))(z)


PROGRAM = """
import sys, jax, numpy as np
index, count, port, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
jax.distributed.initialize(f"127.0.0.1:{port}", count, index)
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from gca_jax import losses
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
split = NamedSharding(mesh, PartitionSpec("data"))
views = np.random.default_rng(0).normal(size=(2, 16, 5)).astype(np.float32)
own = views[:, 8 * index:][:, :8]
a, b = (jax.make_array_from_process_local_data(split, z, (16, 5)) for z in own)
loss = losses.sharded("gca_uot", mesh)
step = jax.value_and_grad(lambda a, b: loss(a, b, epsilon=0.2, layout="joint")[0], argnums=(0, 1))
value, gradient = jax.jit(step, out_shardings=NamedSharding(mesh, PartitionSpec()))(a, b)
np.savez(f"{folder}/{index}.npz", value, *gradient)
"""


def test_over_two_processes(tmp_path):
    processes.run(PROGRAM, 2, 2, tmp_path)
    views = np.random.default_rng(0).normal(size=(2, 16, 5)).astype(np.float32)
    hyper = {"epsilon": 0.2, "layout": "joint"}
    (value, _), gradient = value_and_gradient(losses.gca_uot, hyper, tuple(views))
    for i in range(2):
        got = list(np.load(tmp_path / f"{i}.npz").values())
        np.testing.assert_allclose(got[0], value, rtol=1e-5)
        for g, w in zip(got[1:], gradient, strict=True):
            np.testing.assert_allclose(g, w, rtol=2e-4, atol=1e-6)
