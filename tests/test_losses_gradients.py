"""Implicit and envelope gradients: of the converged loss, and what each promises before that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import losses, ot
from tests import reference, toy
from tests.test_losses import QUALITY, blocks, close, reference_value

pytestmark = pytest.mark.slow

N, LIMIT = 4, 300  # sweeps that converge at epsilon 0.3 to float64's accuracy
REFERENCE_BLOCKS = reference.blocks([0, 1, 0, 1], [0, 1, 1, 1], 0.4, 0.1)

# method, what it takes, what the reference takes
CONVERGED = {
    "gca_ince": ("gca_ince", lambda: ({}, {})),
    "gca_ince blocks": (
        "gca_ince",
        lambda: ({"target": blocks()}, {"target": REFERENCE_BLOCKS}),
    ),
    "gca_ince partial": (
        "gca_ince",
        lambda: (
            {"target": ot.target.weighted(jnp.array(QUALITY))},
            {"target": reference.weighted(QUALITY)},
        ),
    ),
    "gca_uot": ("gca_uot", lambda: ({}, {})),
    "gca_uot generalized": ("gca_uot", lambda: ({"mass": "generalized"}, {"mass": "generalized"})),
    "gca_uot free rows": ("gca_uot", lambda: ({"penalty_a": 0.0}, {"penalty_a": 0.0})),
    "gca_uot free": ("gca_uot", lambda: 2 * ({"penalty_a": 0.0, "penalty_b": 0.0},)),
    "iot": ("iot", lambda: ({}, {})),
    "iot_uni": ("iot_uni", lambda: ({}, {})),
}
BALANCED_KL = ("gca_ince", "gca_ince blocks", "gca_ince partial", "iot")


def gradients(name, words, z_a, z_b, epsilon=0.3):
    """Value and gradient by both views, under jit."""

    def loss(a, b):
        return losses.METHODS[name](a, b, epsilon=epsilon, **words)[0]

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(z_a, z_b)


def check_converged(name, words, expected_words):
    z_a, z_b = toy.batch(0, n=N, d=3)
    value, (by_a, by_b) = gradients(name, words, z_a, z_b)
    want = reference_value(name, expected_words | {"iterations": LIMIT, "epsilon": 0.3}, z_a, z_b)
    np.testing.assert_allclose(value, want(z_a, z_b), rtol=1e-7)
    close(by_a, toy.gradient(lambda a: want(a, z_b), z_a))
    close(by_b, toy.gradient(lambda b: want(z_a, b), z_b))


@pytest.mark.parametrize("case", CONVERGED)
def test_implicit_gradient_is_that_of_the_converged_loss(case):
    name, words = CONVERGED[case]
    with jax.enable_x64(True):
        hyper, expected = words()
        check_converged(name, hyper | {"until": 1e-12, "gradient": "implicit"}, expected)


@pytest.mark.parametrize(
    ("case", "how"),
    [(case, {"until": 1e-12}) for case in BALANCED_KL] + [("gca_ince", {"iterations": LIMIT})],
)
def test_envelope_gradient_is_that_of_the_converged_loss(case, how):
    name, words = CONVERGED[case]
    with jax.enable_x64(True):
        hyper, expected = words()
        check_converged(name, hyper | how | {"gradient": "envelope"}, expected)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gca_ince", {"until": 1e-12, "gradient": "implicit"}),
        ("gca_ince", {"iterations": LIMIT, "gradient": "envelope"}),
        ("iot_uni", {"until": 1e-12, "gradient": "implicit"}),
    ],
)
def test_gradient_of_the_converged_loss_by_a_traced_epsilon(name, words):
    z_a, z_b = toy.batch(0, n=N, d=3)
    want = reference_value(name, {"iterations": LIMIT, "epsilon": 0.3}, z_a, z_b)
    with jax.enable_x64(True):
        loss = losses.METHODS[name]
        slope = jax.jit(jax.grad(lambda e: loss(z_a, z_b, epsilon=e, **words)[0]))(0.3)
        close(slope, toy.gradient(lambda e: want(z_a, z_b, epsilon=e[0]), np.array([0.3]))[0])


def test_a_traced_epsilon_that_ott_would_take_for_a_constant_is_refused():
    """In τ = λ/(λ+ε), which OTT-JAX's implicit derivative holds fixed."""
    z_a, z_b = toy.batch(0, n=N, d=3)
    words = {"until": 1e-6, "gradient": "implicit"}
    with pytest.raises(ValueError, match="tau_a that is known when tracing"):
        jax.grad(lambda e: losses.gca_uot(z_a, z_b, epsilon=e, **words)[0])(0.3)


@pytest.mark.parametrize("layout", ["cross", "joint"])
def test_envelope_before_convergence_is_the_gap_of_plan_and_target(layout):
    """Two sweeps: the value is the two-sweep loss, the gradient <(T - P)/epsilon, dC>."""
    z_a, z_b = toy.batch(1, n=N, d=3)
    epsilon, words = 0.2, {"layout": layout}
    with jax.enable_x64(True):
        hyper = words | {"iterations": 2, "gradient": "envelope"}
        value, (by_a, _) = gradients("gca_ince", hyper, z_a, z_b, epsilon)
        _, (unrolled, _) = gradients("gca_ince", words | {"iterations": 2}, z_a, z_b, epsilon)
    C, T, mu, nu = reference.setting(z_a, z_b, None, None, None, "target", **words)
    P = reference.plan(np.exp(-C / epsilon), mu, nu, 4)
    np.testing.assert_allclose(value, reference.kl(T, P), rtol=1e-9)
    gap, pairs = (T - P) / epsilon, np.isfinite(C)
    want = toy.gradient(
        lambda a: np.sum(gap[pairs] * reference.cost_matrix(a, z_b, **words)[pairs]), z_a
    )
    close(by_a, want)
    assert np.abs(np.asarray(unrolled) - want).max() > 1e-3 * np.abs(want).max()


def test_the_three_gradients_agree_at_convergence():
    z_a, z_b = toy.batch(2, n=6)
    ways = [
        {"iterations": 60},
        {"iterations": 60, "gradient": "envelope"},
        {"until": 1e-6, "gradient": "implicit"},
    ]
    z_a, z_b = jnp.float32(z_a), jnp.float32(z_b)
    results = [gradients("gca_ince", how, z_a, z_b, 0.3) for how in ways]
    for value, (by_a, by_b) in results[1:]:
        np.testing.assert_allclose(value, results[0][0], rtol=1e-4)
        np.testing.assert_allclose(by_a, results[0][1][0], atol=2e-4)
        np.testing.assert_allclose(by_b, results[0][1][1], atol=2e-4)


REFUSED = [
    ("gca_uot", {"gradient": "envelope"}, ["gca_uot", "envelope"]),
    ("gca_uot", {"gradient": "envelope", "until": 1e-6}, ["gca_uot", "envelope"]),
    ("iot_uni", {"gradient": "envelope"}, ["iot_uni", "envelope"]),
    ("gca_ince", {"gradient": "implicit"}, ["gradient", "implicit", "until"]),
    ("gca_ince", {"gradient": "unrolled", "until": 1e-6}, ["gradient", "unrolled", "until"]),
    ("iot", {"gradient": "unroled"}, ["gradient", "unroled", "unrolled", "envelope", "implicit"]),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("name", "words", "says"), REFUSED)
def test_a_gradient_that_makes_no_sense_is_refused_by_name(name, words, says):
    z_a, z_b = toy.batch(0)
    with pytest.raises(ValueError, match=says[0]) as error:
        losses.METHODS[name](z_a, z_b, **words)
    for text in says:
        assert error.match(text)
