"""What must not count: padded samples (`valid=`), known positives (`ignore=`), an empty batch.

The value of a padded batch is that of its valid rows alone, and so are its gradient and `aux`;
pairs that are ignored have an infinite cost in NumPy's reference.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.tree_util import Partial
from ott.geometry import costs

from gca_jax import losses, ot
from tests import reference

RNG = np.random.default_rng(0)
N = 12
A = RNG.normal(size=(N, 5))
B = A + 0.6 * RNG.normal(size=(N, 5))
KEPT = np.array([0, 1, 3, 4, 6, 7, 9, 10])
VALID = np.isin(np.arange(N), KEPT)
ALL = np.arange(N)
LABELS = RNG.integers(0, 3, N)
FEATURES = RNG.normal(size=(N, 3))
QUALITY = RNG.uniform(0.1, 1.0, N)
DENSE = RNG.uniform(size=(N, N))
TARGETS = {  # of the samples of these indices
    "identity": lambda rows: None,
    "weighted": lambda rows: ot.target.weighted(QUALITY[rows]),
    "classes": lambda rows: ot.target.classes(LABELS[rows]),
    "anchor": lambda rows: ot.target.classes(LABELS[rows], per="anchor"),
    "blocks": lambda rows: ot.target.blocks(LABELS[rows], alpha=0.5, beta=0.1),
    "continuous": lambda rows: ot.target.continuous(FEATURES[rows], bandwidth=0.7),
    "dense": lambda rows: DENSE[np.ix_(rows, rows)],
    "self": lambda rows: Partial(ot.learned.self_weighted, floor=0.1, keep=0.7),
    "smoothed": lambda rows: Partial(ot.learned.smoothed, share=0.2),
    "bootstrapped": lambda rows: Partial(ot.learned.bootstrapped, share=0.2),
    "evidence": lambda rows: Partial(ot.learned.evidence, share=0.7),
    "estimated": lambda rows: ot.learned.evidence,
}
JOINT, BLOCKS, LOG = {"layout": "joint"}, {"block_size": 5}, {"domain": "log"}
UNTIL = {"until": 1e-9, "gradient": "implicit"}
CASES = [
    ("ince", "identity", BLOCKS),
    ("ince", "dense", LOG),
    ("ince", "self", JOINT | {"similarity_floor": 0.1}),
    ("simclr", "blocks", {}),
    ("simclr", "identity", {"self_pairs": "max_cost"}),
    ("rince", "blocks", JOINT | BLOCKS),
    ("rince", "weighted", {"cost_fn": costs.PNormP(3)}),
    ("gca_ince", "anchor", JOINT | BLOCKS),
    ("gca_ince", "smoothed", {"marginals": "uniform"}),
    ("gca_ince", "continuous", {"gradient": "envelope"}),
    ("gca_ince", "weighted", UNTIL),
    ("gca_rince", "classes", JOINT),
    ("gca_rince", "identity", LOG),
    ("gca_uot", "bootstrapped", BLOCKS),
    ("gca_uot", "classes", {"penalty_a": 0.0, "mass": "generalized", "w_rince": 1.0}),
    ("gca_uot", "identity", JOINT | {"penalise_marginals": True, "mass": "total"}),
    ("gca_uot", "continuous", UNTIL | {"w_rince": 1.0}),
    ("clip", "blocks", BLOCKS),
    ("clip", "estimated", BLOCKS),
    ("simclr", "evidence", {"self_pairs": "max_cost"}),
    ("gca_ince", "estimated", JOINT | LOG),
    ("gca_uot", "evidence", BLOCKS),
    ("byol", "weighted", {}),
    ("iot", "self", LOG),
    ("iot_uni", "classes", BLOCKS),
    ("iot_uni", "identity", LOG),
]
HOW_RUN = ("sweeps", "block_size", "scaling_domain")


def value_and_gradient(name, target, how, **valid):
    more = how if name == "byol" else how | {"diagnose": True}

    def loss(views):
        return losses.METHODS[name](*views, target=target, **more, **valid)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind", "how"), CASES)
def test_a_padded_batch_is_its_valid_rows_alone(name, kind, how):
    """The others hold NaN. Nothing that counts: 0 with a zero gradient, by the same program."""
    with jax.enable_x64(True):
        target = TARGETS[kind]
        padded = tuple(np.where(VALID[:, None], z, np.nan) for z in (A, B))
        want, slopes = value_and_gradient(name, target(KEPT), how)((A[KEPT], B[KEPT]))

        def step(views, valid):
            return value_and_gradient(name, target(ALL), how, valid=valid)(views)

        step = jax.jit(step)
        got, found = step(padded, VALID)
        np.testing.assert_allclose(got[0], want[0], rtol=1e-7)
        for key in want[1].keys() - set(HOW_RUN):
            message = f"aux[{key!r}]"
            np.testing.assert_allclose(
                got[1][key], want[1][key], rtol=1e-6, atol=1e-9, err_msg=message
            )
        for g, w in zip(found, slopes, strict=True):
            np.testing.assert_allclose(g[KEPT], w, rtol=1e-5, atol=1e-8)
            assert (np.asarray(g)[~VALID] == 0).all()
        nothing, slopes = step(padded, np.zeros(N, bool))
        assert nothing[0] == 0
        assert all((np.asarray(g) == 0).all() for g in slopes)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*losses.METHODS])
def test_weights_that_are_all_zero(name):
    """Under jit, where they cannot be refused; weights of NaN do not pass for zeros."""

    def step(views, weights):
        target = ot.target.weighted(weights)
        return jax.value_and_grad(lambda z: losses.METHODS[name](*z, target=target)[0])(views)

    step, views = jax.jit(step), (np.float32(A), np.float32(B))
    value, slopes = step(views, jnp.zeros(N))
    assert value == 0
    assert all((np.asarray(g) == 0).all() for g in slopes)
    weights = np.float32(QUALITY)
    value, _ = step(views, weights)
    want = losses.METHODS[name](*views, target=ot.target.weighted(weights))[0]
    np.testing.assert_allclose(value, want, rtol=1e-5)
    assert np.isnan(step(views, np.full(N, np.nan, np.float32))[0])


IDS = np.array([0, 0, 1, -1, -1, 2, 2, 2, 3, 4, 5, 6])
SAME = (IDS[:, None] == IDS[None]) & (IDS >= 0)[:, None] & ~np.eye(N, dtype=bool)


@pytest.mark.slow
@pytest.mark.parametrize("given", ["ids", "array"])
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("ince", {}),
        ("simclr", BLOCKS),
        ("clip", {"epsilon": 0.3}),
        ("rince", LOG),
        ("gca_ince", JOINT),
        ("gca_rince", BLOCKS),
        ("gca_uot", JOINT | BLOCKS),
    ],
)
def test_ignored_pairs_are_no_negatives(name, how, given):
    """Pairs of one id have infinite cost; -1 is the id of none, and a sample's own pair stays."""
    ignore = IDS if given == "ids" else SAME | np.eye(N, dtype=bool)
    words = {key: x for key, x in how.items() if key in ("epsilon", "layout")}
    if name == "simclr":
        words["layout"] = "joint"
    ignored = SAME
    method = {"simclr": "ince"}.get(name, name)
    if words.get("layout") == "joint":  # the views of one sample are each other's positive
        ignored = SAME & ~np.eye(N, dtype=bool)
    with jax.enable_x64(True):
        value, _ = losses.METHODS[name](A, B, ignore=ignore, **how)
        want = getattr(reference, method)(A, B, ignored=ignored, **words)
        np.testing.assert_allclose(value, want, rtol=1e-9)


@pytest.mark.slow
def test_both_over_eight_devices_of_two_axes():
    mesh = jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    z_a, z_b = (np.concatenate([z, np.full((4, 5), np.nan)]) for z in (A, B))
    words = {
        "valid": np.concatenate([VALID, np.zeros(4, bool)]),
        "ignore": np.concatenate([IDS, -np.ones(4, int)]),
        "diagnose": True,
    }
    with jax.enable_x64(True):
        got, want = (
            jax.jit(jax.value_and_grad(lambda z: loss(*z, **words), has_aux=True))((z_a, z_b))  # noqa: B023
            for loss in (
                losses.sharded("gca_uot", mesh, ("data", "fsdp")),
                losses.gca_uot,
            )
        )
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-11)


def test_two_sides_of_different_lengths():
    """Further columns that do not count, and a row whose partner is missing: a target's own."""
    valid = np.ones(6, bool), np.array([True, True, False, True, True, True, True, False])
    z_a, z_b = np.float32(A[:6]), np.float32(B[:8])
    target = np.eye(6, 8)
    target[2, 2] = 0
    value, _ = losses.ince(z_a, z_b, valid=valid)
    kept = np.flatnonzero(valid[1])
    want, _ = losses.ince(z_a, z_b[kept], target=target[:, kept])
    np.testing.assert_allclose(value, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"valid": np.ones(N)}, "valid must be booleans, such as mask > 0; got float32"),
        ({"valid": np.ones(7, bool)}, r"valid must have shape \(12,\).* got \(7,\)"),
        ({"ignore": np.ones((N, 3), bool)}, r"ignore must be booleans of shape \(12, 12\), or ids"),
        ({"ignore": np.ones(N)}, r"ignore_a must be integers of shape \(n,\)"),
    ],
)
def test_what_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        losses.gca_uot(np.float32(A), np.float32(B), **words)


def test_one_array_for_two_lengths():
    message = r"valid must be a pair of arrays, \(12,\) for z_a and \(7,\) for z_b"
    with pytest.raises(ValueError, match=message):
        losses.ince(np.float32(A), np.float32(B[:7]), valid=VALID)


def test_unbalanced_masses_that_differ():
    """With soft marginals the masses need not be equal (growth, death); hard ones are 1."""
    cost, (n, m), tau = RNG.uniform(size=(4, 5)), (4, 5), 0.4
    mu, nu = np.full(n, 0.25), np.full(m, 0.3)
    kernel = ot.cost_kernel(cost, epsilon=0.5)
    u, v = np.ones(n), np.ones(m)
    for _ in range(10):
        u = (mu / (np.exp(-cost / 0.5) @ v)) ** tau
        v = (nu / (np.exp(-cost / 0.5).T @ u)) ** tau
    plan = ot.project(kernel, iterations=10, mu=mu, nu=nu, tau_a=tau, tau_b=tau)
    np.testing.assert_allclose(plan.log_u, np.log(u), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(plan.log_v, np.log(v), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"nu must sum to 1, got a sum of 1\.5"):
        ot.project(kernel, iterations=10, mu=mu, nu=nu)
