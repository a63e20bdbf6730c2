"""Target plans of section 3.4 against their definition, in both layouts."""

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
