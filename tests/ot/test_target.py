"""Target plans of section 3.4 against their definition, in both layouts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import ot
from tests import reference

DOMAINS_A = [0, 1, 0, 2, 1]
DOMAINS_B = [0, 1, 2, 2, 1]
QUALITY = [1.0, 0.0, 0.5, 0.25, 1.0]

# (library's target, reference in a layout)
TARGETS = {
    "identity": (ot.target.identity(5), lambda layout: reference.identity(5, layout=layout)),
    "blocks": (
        ot.target.blocks(jnp.array(DOMAINS_A), jnp.array(DOMAINS_B), alpha=0.4, beta=0.1),
        lambda layout: reference.blocks(DOMAINS_A, DOMAINS_B, 0.4, 0.1, layout),
    ),
    "blocks_of_one": (
        ot.target.blocks(jnp.array(DOMAINS_A), jnp.array(DOMAINS_A), alpha=0.5, beta=0.0),
        lambda layout: reference.blocks(DOMAINS_A, DOMAINS_A, 0.5, 0.0, layout),
    ),
    "classes": (
        ot.target.classes(jnp.array(DOMAINS_A)),
        lambda layout: reference.classes(DOMAINS_A, layout=layout),
    ),
    "classes_of_two": (
        ot.target.classes(jnp.array(DOMAINS_A), jnp.array(DOMAINS_B)),
        lambda layout: reference.classes(DOMAINS_A, DOMAINS_B, layout),
    ),
    "weighted": (
        ot.target.weighted(jnp.array(QUALITY)),
        lambda layout: reference.weighted(QUALITY, layout),
    ),
}


@pytest.mark.parametrize("name", TARGETS)
def test_cross_layout(name):
    target, expected = TARGETS[name]
    np.testing.assert_allclose(target.matrix, expected("cross"), atol=1e-7)


@pytest.mark.parametrize("name", TARGETS)
def test_joint_layout(name):
    target, expected = TARGETS[name]
    np.testing.assert_allclose(target.with_layout("joint").matrix, expected("joint"), atol=1e-7)


@pytest.mark.parametrize("name", TARGETS)
def test_mass_is_one_and_no_self_pair_has_any(name):
    target, _ = TARGETS[name]
    joint = target.with_layout("joint").matrix
    np.testing.assert_allclose([target.matrix.sum(), joint.sum()], 1.0, rtol=1e-5)
    np.testing.assert_array_equal(np.diag(joint), 0.0)


def test_blocks_letter_by_letter():
    """Three images of domains 0 0 1: diagonal 1, same domain alpha, other beta, then mass 1."""
    d = jnp.array([0, 0, 1])
    got = ot.target.blocks(d, d, alpha=0.5, beta=0.25).matrix
    want = np.array([[1, 0.5, 0.25], [0.5, 1, 0.25], [0.25, 0.25, 1]]) / 5.0
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_identity_in_the_joint_layout_swaps_the_views():
    got = ot.target.identity(2).with_layout("joint").matrix
    want = np.array([[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]]) / 4.0
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_rectangular_targets():
    np.testing.assert_allclose(ot.target.identity(2, 4).matrix, reference.identity(2, 4), rtol=1e-6)
    got = ot.target.classes(jnp.array([0, 1]), jnp.array([1, 1, 0])).matrix
    np.testing.assert_allclose(got, np.array([[0, 0, 1], [1, 1, 0]]) / 3.0, rtol=1e-6)
    a, b = [0, 1, 1], [0, 1]
    got = ot.target.blocks(jnp.array(a), jnp.array(b), alpha=0.3, beta=0.2).matrix
    np.testing.assert_allclose(got, reference.blocks(a, b, 0.3, 0.2), rtol=1e-6)


def test_alpha_one_beta_zero_is_classes_and_both_zero_is_identity():
    d = jnp.array(DOMAINS_A)
    for layout in ("cross", "joint"):
        blocks = ot.target.blocks(d, d, alpha=1.0, beta=0.0).with_layout(layout).matrix
        classes = ot.target.classes(d).with_layout(layout).matrix
        np.testing.assert_allclose(blocks, classes, atol=1e-7)
        none = ot.target.blocks(d, d, alpha=0.0, beta=0.0).with_layout(layout).matrix
        np.testing.assert_allclose(none, reference.identity(5, layout=layout), atol=1e-7)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ot.target.identity(0), ["n", "0"]),
        (
            lambda: ot.target.blocks(jnp.array([0]), jnp.array([0]), alpha=-0.5, beta=0.0),
            ["alpha", r"-0\.5"],
        ),
        (
            lambda: ot.target.blocks(jnp.array([0]), jnp.array([0]), alpha=0.5, beta=-2.0),
            ["beta", r"-2"],
        ),
        (
            lambda: ot.target.blocks(jnp.eye(2), jnp.array([0]), alpha=0.5, beta=0.0),
            ["domains_a", r"\(2, 2\)"],
        ),
        (lambda: ot.target.classes(jnp.eye(2)), ["labels_a", r"\(2, 2\)"]),
        (
            lambda: ot.target.blocks(np.array(["a", "b"]), alpha=0.1),
            ["domains_a must be integers", "names"],
        ),
        (lambda: ot.target.classes([0, 1], [[0], [0, 1]]), ["labels_b must be integers"]),
        (lambda: ot.target.continuous(["cat", "dog"], bandwidth=1.0), ["labels_a must be numbers"]),
        (lambda: ot.target.weighted(["cat", "dog"]), ["quality must be numbers"]),
        (lambda: ot.target.classes(jnp.array([0]), jnp.array([1])), ["labels"]),
        (lambda: ot.target.classes(np.array([True, False])), ["labels_a must be int", "bool"]),
        (lambda: ot.target.classes([0.0, 1.0]), ["labels_a must be int", "float"]),
        (lambda: ot.target.continuous(np.array(["2024"], "M8[D]"), bandwidth=1), ["got times"]),
        (lambda: ot.target.continuous([1.0, np.inf], bandwidth=1), ["labels_a must be finite"]),
        (lambda: ot.target.similar(np.array([["x"]]), epsilon=1.0), ["features_a must be numbers"]),
        (lambda: ot.target.weighted(jnp.array([0.5, -0.5])), ["quality", r"-0\.5"]),
        (lambda: ot.target.weighted(jnp.array([0.5, 1.5])), ["quality", r"1\.5"]),
        (lambda: ot.target.weighted(jnp.zeros(3)), ["quality"]),
        (lambda: ot.target.weighted(jnp.ones((2, 2))), ["quality", r"\(2, 2\)"]),
        (lambda: ot.target.identity(2, 3).with_layout("joint"), ["joint", "2", "3"]),
        (lambda: ot.target.identity(2).with_layout("both"), ["layout", "both", "cross", "joint"]),
    ],
)
def test_bad_input_is_refused_naming_the_argument_and_its_value(make, says):
    with pytest.raises(ValueError, match=says[0]) as error:
        make()
    for text in says:
        assert error.match(text)


WIDTHS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("traced", [False, True])
def test_ids_are_integers_of_any_type_and_minus_one_is_unknown(width, traced):
    """-1 pairs with itself alone; the largest unsigned number is a class as any."""
    limit = np.iinfo(width)
    if traced and limit.bits == 64:
        pytest.skip("JAX itself narrows what it traces")
    low, high, none = limit.min, limit.max, -1 if limit.min < 0 else limit.max
    labels = np.array([low, none, high - 1, low, none, high - 1, 1, none], width)
    same = labels[:, None] == labels
    if limit.min < 0:
        same &= (labels != -1)[:, None] | np.eye(8, dtype=bool)
    classes, blocks = ot.target.classes, lambda x: ot.target.blocks(x, alpha=0.5, beta=0.25)
    made = [jax.jit(f)(labels) if traced else f(labels) for f in (classes, blocks)]
    np.testing.assert_allclose(made[0].matrix, same / same.sum(), rtol=1e-5)
    want = np.where(np.eye(8, dtype=bool), 1, np.where(same, 0.5, 0.25))
    np.testing.assert_allclose(made[1].matrix, want / want.sum(), rtol=1e-5)
    joint = made[0].with_layout("joint").matrix
    both = np.tile(same, (2, 2)) & ~np.eye(16, dtype=bool)
    np.testing.assert_allclose(joint, both / both.sum(), rtol=1e-5)


def test_ids_of_64_bits_are_no_others_of_32():
    images, captions = np.array([2**32 + 1, 1, -(2**40)]), np.array([1, 2**33 + 1, 2**32 + 1])
    got = ot.target.classes(images, captions).matrix
    np.testing.assert_allclose(got, np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0]]) / 2)
    signed, unsigned = np.array([-1, 5, 2**62 + 1]), np.array([2**64 - 1, 5, 2**62], np.uint64)
    got = ot.target.classes(signed, unsigned).matrix
    np.testing.assert_allclose(got, np.diag([0.0, 1.0, 0.0]))
    with pytest.raises(ValueError, match="labels_a int32 and labels_b uint32 are traced"):
        jax.jit(ot.target.classes)(np.arange(3, dtype=np.int32), np.arange(3, dtype=np.uint32))


def weights(labels, bandwidth):
    """The weights of labels in float64."""
    w = np.exp(-((labels[:, None] - labels[None]) ** 2) / (2 * bandwidth**2))
    return w / w.sum()


POSITIONS = np.array([0.0, 0.125, 0.5, 3.0, 3.25])


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(("dtype", "unit"), [("float32", 1), ("float64", 1), ("int32", 1000)])
def test_positions_keep_their_differences_beside_a_large_offset(traced, dtype, unit):
    offset = 1e6 if dtype != "int32" else 2**31 - 4_000
    labels = (offset + unit * POSITIONS).astype(dtype)
    if traced:
        labels = jnp.asarray(labels)  # which float32 holds
    make = lambda x: ot.target.continuous(x, bandwidth=0.2 * unit).matrix  # noqa: E731
    got = jax.jit(make)(labels) if traced else make(labels)
    np.testing.assert_allclose(got, weights(POSITIONS, 0.2), rtol=1e-4, atol=1e-12)


def test_known_positions_are_measured_in_their_own_type_and_unit():
    for labels, bandwidth in (
        (1e160 * POSITIONS, 0.2e160),
        (1e-170 * POSITIONS, 0.2e-170),
        (1.7e9 + POSITIONS, 0.2),
        (2**60 + (1000 * POSITIONS).astype(np.int64), 200),
    ):
        wide = np.stack([labels, *[0 * labels] * 9], axis=1)  # its distances are one product
        for x in (labels, wide):
            got = ot.target.continuous(x, bandwidth=bandwidth).matrix
            np.testing.assert_allclose(got, weights(POSITIONS, 0.2), rtol=1e-4, atol=1e-12)
    one = ot.target.continuous(POSITIONS + 1e9, POSITIONS[::-1] + 1e9, bandwidth=0.2).matrix
    np.testing.assert_allclose(one, weights(POSITIONS, 0.2)[:, ::-1], rtol=1e-4, atol=1e-12)
    learned = jax.jit(lambda width: ot.target.continuous(POSITIONS + 1e9, bandwidth=width).matrix)
    np.testing.assert_allclose(learned(0.2), weights(POSITIONS, 0.2), rtol=1e-4, atol=1e-12)
    with pytest.raises(ValueError, match=r"labels_a reach from 0 to 3.25, beyond float32 in units"):
        ot.target.continuous(POSITIONS, bandwidth=1e-60)


def test_features_of_any_length_have_their_cosines():
    features = np.random.default_rng(0).normal(size=(5, 3))
    want = ot.target.similar(features, epsilon=0.5).matrix
    lengths = np.array([1e160, 1e-170, 1, 1e300, 1e-300])[:, None]
    got = ot.target.similar(features * lengths, epsilon=0.5).matrix
    np.testing.assert_allclose(got, want, rtol=1e-5)
