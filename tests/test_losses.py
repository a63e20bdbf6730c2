"""Every method's value and gradients against its equation in NumPy, in float64.

One table: each method in each setting of the kernel, target and marginals that it takes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ott.geometry import costs

from gca_jax import losses, ot
from tests import reference, toy

N, SWEEPS = 4, 3
DOMAINS_A, DOMAINS_B, LABELS = [0, 1, 0, 1], [0, 1, 1, 1], [0, 1, 0, 2]
QUALITY = [1.0, 0.0, 0.5, 0.25]
AGES = np.array([1.0, 2.5, 2.0, 9.0])
PENALTIES = np.array([0.1, 0.5, np.inf, 2.0])
RNG = np.random.default_rng(0)
DENSE = RNG.uniform(0, 1, size=(N, N))
DENSE_JOINT = RNG.uniform(0, 1, size=(2 * N, 2 * N)) * (1 - np.eye(2 * N))
WEIGHTS = RNG.uniform(0.5, 1.5, size=(4, 2 * N))
MU, NU = (w[:N] / w[:N].sum() for w in WEIGHTS[:2])
MU_JOINT, NU_JOINT = (w / w.sum() for w in WEIGHTS[2:])


def blocks():
    return ot.target.blocks(jnp.array(DOMAINS_A), jnp.array(DOMAINS_B), alpha=0.4, beta=0.1)


def same(hyper):
    """The library and the reference take the same words."""
    return lambda: (hyper, hyper)


CROSS, JOINT = {"layout": "cross"}, {"layout": "joint"}
PUBLISHED = JOINT | {"similarity_floor": 1e-7, "self_pairs": "max_cost"}
BLOCKS, BLOCKS_JOINT = (
    reference.blocks(DOMAINS_A, DOMAINS_B, 0.4, 0.1, layout) for layout in ("cross", "joint")
)
# each setting: what the library takes (made late: float64 must be on), what the reference takes
SETTINGS = {
    "cross": same(CROSS),
    "joint": same(JOINT),
    "small epsilon": same(CROSS | {"epsilon": 0.1}),
    "blocks": lambda: (CROSS | {"target": blocks()}, CROSS | {"target": BLOCKS}),
    "blocks joint": lambda: (JOINT | {"target": blocks()}, JOINT | {"target": BLOCKS_JOINT}),
    "classes": lambda: (
        CROSS | {"target": ot.target.classes(jnp.array(LABELS))},
        CROSS | {"target": reference.classes(LABELS)},
    ),
    "classes joint": lambda: (
        JOINT | {"target": ot.target.classes(jnp.array(LABELS))},
        JOINT | {"target": reference.classes(LABELS, layout="joint")},
    ),
    "weighted": lambda: (
        CROSS | {"target": ot.target.weighted(jnp.array(QUALITY))},
        CROSS | {"target": reference.weighted(QUALITY)},
    ),
    "weighted joint": lambda: (
        JOINT | {"target": ot.target.weighted(jnp.array(QUALITY))},
        JOINT | {"target": reference.weighted(QUALITY, "joint")},
    ),
    "continuous": lambda: (
        CROSS | {"target": ot.target.continuous(AGES, bandwidth=1.5)},
        CROSS | {"target": reference.continuous(AGES, 1.5)},
    ),
    "continuous joint": lambda: (
        JOINT | {"target": ot.target.continuous(AGES, bandwidth=1.5)},
        JOINT | {"target": reference.continuous(AGES, 1.5, layout="joint")},
    ),
    "array": same(CROSS | {"target": 7.0 * DENSE}),
    "array joint": same(JOINT | {"target": DENSE_JOINT}),
    "uniform": lambda: (
        CROSS | {"target": blocks(), "marginals": "uniform"},
        CROSS | {"target": BLOCKS, "marginals": "uniform"},
    ),
    "published options": same(PUBLISHED),
    "another distance": lambda: (
        CROSS | {"cost_fn": costs.SqEuclidean()},
        CROSS | {"cost": lambda x, y: np.sum((x - y) ** 2)},
    ),
}
OWN_MARGINALS = {
    "own marginals": same(CROSS | {"mu": MU, "nu": NU}),
    "own marginals joint": same(JOINT | {"mu": MU_JOINT, "nu": NU_JOINT}),
}
OWN_ROWS = {"own rows": same(CROSS | {"mu": MU})}
ONCE = {"default": same({}), "cross": SETTINGS["cross"]}  # the named special cases
RINCE = {
    f"q={q} lam={lam}": same(CROSS | {"q": q, "lam": lam})
    for q, lam in [(0.1, 0.01), (1.0, 0.25), (0.5, 1.0)]
}
UOT = {
    **RINCE,
    "generalized": same({"mass": "generalized"}),
    "total": same(JOINT | {"mass": "total", "w_rince": 0.0}),
    "uneven penalties": same({"penalty_a": 0.05, "penalty_b": 2.0, "mass": "generalized"}),
    "a penalty for each sample": same({"penalty_a": PENALTIES, "penalty_b": PENALTIES[::-1] + 1}),
    "hard rows": same({"penalty_a": np.inf, "penalty_b": 0.3}),
    "eq. 9": same({"penalise_marginals": True, "penalty_b": 0.7, "mass": "total"}),
    "weights": same({"w_kl": 0.3, "w_rince": 1.5}),
}


def some(*names):
    return {name: SETTINGS[name] for name in names}


# INCE in every setting of kernel and target; the others in those that meet their own equation.
TABLE = {
    "ince": SETTINGS | OWN_ROWS,
    "gca_ince": some(
        "cross", "joint", "small epsilon", "blocks joint", "weighted", "array", "uniform"
    )
    | OWN_MARGINALS,
    "rince": some("joint", "blocks joint", "weighted joint", "array", "another distance") | RINCE,
    "gca_rince": some("joint", "blocks", "continuous", "uniform", "published options")
    | OWN_MARGINALS
    | RINCE,
    "gca_uot": some("joint", "blocks", "blocks joint", "weighted", "continuous", "array", "uniform")
    | OWN_MARGINALS
    | UOT,
    "gce": some("cross", "joint", "classes", "classes joint", "weighted", "published options")
    | {"q": same({"q": 0.1})},
    "gca_gce": some("cross", "joint", "classes joint", "weighted", "small epsilon") | OWN_MARGINALS,
    "rcl": some("cross", "joint", "blocks", "continuous", "classes joint", "weighted")
    | {"tan": same({"phi": "tan"})},
    "simclr": ONCE,
    "clip": {
        "default": same({}),
        "epsilon": same({"epsilon": 0.4}),
        "array": same({"target": DENSE}),
        "blocks": lambda: ({"target": blocks()}, {"target": BLOCKS}),
        "own marginals": same({"mu": MU, "nu": NU}),
    },
    "byol": {"default": same({}), "array": same({"target": DENSE})},
    "iot": ONCE,
    "iot_uni": some("cross", "joint", "blocks joint", "weighted", "array", "published options")
    | OWN_MARGINALS
    | {"lam_p": same({"lam_p": 1.5})},
}
SINKHORN = ("gca_ince", "gca_rince", "gca_uot", "gca_gce", "iot", "iot_uni")


def reference_value(name, hyper, z_a, z_b):
    """The reference with all that the method holds fixed (IOT-uni's Q) fixed at this batch."""
    value = reference.METHODS[name]
    if name == "iot_uni":
        words = {k: v for k, v in hyper.items() if k != "lam_p"}
        P, T = reference.iot_plan(z_a, z_b, **words)
        hyper = hyper | {"Q": reference.iot_uni_q(P, T, hyper.get("layout", "joint"))}
    return lambda a, b, **more: value(a, b, **(hyper | more))


def run(name, *views, **hyper):
    """Value and aux, under jit."""
    return jax.jit(lambda *views: losses.METHODS[name](*views, **hyper))(*views)


def close(got, want, relative=1e-5):
    """Within `relative` of the largest entry: one scale for a whole gradient."""
    np.testing.assert_allclose(got, want, rtol=0, atol=relative * np.abs(want).max())


def each_setting():
    """Every method in every setting; beyond the first of a method they are slow together."""
    for name, settings in TABLE.items():
        for k, setting in enumerate(settings):
            yield pytest.param(name, setting, marks=[pytest.mark.slow] if k else [])


@pytest.mark.parametrize(("name", "setting"), list(each_setting()))
def test_value_and_gradients(name, setting):
    z_a, z_b = toy.batch(3, n=N, d=3)
    with jax.enable_x64(True):
        hyper, words = TABLE[name][setting]()
        if name in SINKHORN:
            hyper, words = hyper | {"iterations": SWEEPS}, words | {"iterations": SWEEPS}
        loss = losses.METHODS[name]
        both = jax.value_and_grad(lambda a, b: loss(a, b, **hyper)[0], argnums=(0, 1))
        value, (grad_a, grad_b) = jax.jit(both)(z_a, z_b)
    assert value.dtype == grad_a.dtype == np.float64
    want = reference_value(name, words, z_a, z_b)
    np.testing.assert_allclose(value, want(z_a, z_b), rtol=1e-9)
    close(grad_a, toy.gradient(lambda a: want(a, z_b), z_a))
    close(grad_b, toy.gradient(lambda b: want(z_a, b), z_b))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *(("clip", {}), ("ince", JOINT), ("gca_ince", CROSS), ("rince", CROSS)),
        *(("gca_rince", JOINT), ("gca_uot", CROSS), ("gca_uot", JOINT), ("iot_uni", CROSS)),
    ],
)
@pytest.mark.slow
def test_gradient_by_epsilon(name, words):
    """A traced epsilon: the log domain's values, and the derivative by the temperature."""
    z_a, z_b = toy.batch(4, n=N, d=3)
    words = words | ({"iterations": SWEEPS} if name in SINKHORN else {})
    with jax.enable_x64(True):
        loss = losses.METHODS[name]
        both = jax.jit(jax.value_and_grad(lambda e: loss(z_a, z_b, epsilon=e, **words)[0]))
        value, slope = both(0.3)
    want = reference_value(name, words | {"epsilon": 0.3}, z_a, z_b)
    np.testing.assert_allclose(value, want(z_a, z_b), rtol=1e-9)
    by_epsilon = toy.gradient(lambda e: want(z_a, z_b, epsilon=e[0]), np.array([0.3]))
    close(slope, by_epsilon[0])


@pytest.mark.parametrize(
    ("name", "n", "m"),
    [
        *(("ince", 3, 5), ("gca_ince", 5, 3), ("rince", 5, 3), ("gca_rince", 3, 5)),
        *(("gca_uot", 3, 5), ("gca_uot", 5, 3)),
    ],
)
def test_rectangular_kernels(name, n, m):
    z_a, z_b = toy.batch(5, n=n, m=m, d=3)
    target = np.random.default_rng(6).uniform(0, 1, size=(n, m))
    words = {"iterations": SWEEPS} if name in SINKHORN else {}
    with jax.enable_x64(True):
        value, _ = run(name, z_a, z_b, target=target, **words)
    want = reference.METHODS[name](z_a, z_b, target=target, **words)
    np.testing.assert_allclose(value, want, rtol=1e-9)


@pytest.mark.parametrize("epsilon", [0.01, 10.0])
@pytest.mark.slow
def test_the_papers_letters(epsilon):
    """Eq. 1, eq. 2 and NT-Xent, each written without the transport view."""
    z_a, z_b = toy.batch(7)
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            run("ince", z_a, z_b, epsilon=epsilon)[0],
            reference.ince_paper(z_a, z_b, epsilon),
            rtol=1e-9,
        )
        np.testing.assert_allclose(
            run("rince", z_a, z_b, epsilon=epsilon, q=0.6, lam=0.05)[0],
            reference.rince_paper(z_a, z_b, epsilon, 0.6, 0.05),
            rtol=1e-9,
        )
        np.testing.assert_allclose(
            run("simclr", z_a, z_b, epsilon=epsilon)[0],
            reference.ntxent(z_a, z_b, epsilon),
            rtol=1e-9,
        )


@pytest.mark.parametrize("name", ["ince", "gca_ince", "gca_uot", "iot_uni"])
@pytest.mark.slow
def test_aux_is_what_its_names_say(name):
    z_a, z_b = toy.batch(8)
    with jax.enable_x64(True):
        _, aux = run(name, z_a, z_b, epsilon=0.3, diagnose=True)
        plan, target = losses.transport(name, z_a, z_b, epsilon=0.3)
        P, T = np.asarray(plan.matrix), np.asarray(target.matrix)
    np.testing.assert_allclose(aux["mass"], P.sum(), rtol=1e-9)
    P = P / P.sum()  # all else is of the plan at the target's mass
    mu, nu = T.sum(1), T.sum(0)
    residual = np.abs(P.sum(1) - mu).sum() + np.abs(P.sum(0) - nu).sum()
    np.testing.assert_allclose(aux["residual"], residual, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(aux["positive_mass"], P[T > 0].sum(), rtol=1e-9)
    np.testing.assert_allclose(aux["plan_entropy"], reference.entropy(P), rtol=1e-9)
    np.testing.assert_allclose(aux["alignment"], reference.alignment(z_a, z_b), rtol=1e-9)
    scores = -reference.cost_matrix(z_a, z_b, layout="joint" if len(P) > 5 else "cross")
    accuracy = np.mean(scores.argmax(1) == T.argmax(1))
    np.testing.assert_allclose(aux["contrastive_accuracy"], accuracy, rtol=1e-6)
    assert all(np.ndim(value) == 0 for value in aux.values())


def test_transport_gives_the_plan_and_the_target_of_the_loss():
    z_a, z_b = toy.batch(9)
    with jax.enable_x64(True):
        plan, target = losses.transport("iot", z_a, z_b, iterations=2)
        P, T = reference.iot_plan(z_a, z_b, iterations=2)
        np.testing.assert_allclose(plan.matrix, P, rtol=1e-9, atol=1e-300)
        np.testing.assert_allclose(target.matrix, T, rtol=1e-9)
        value, _ = run("iot", z_a, z_b, iterations=2)
        np.testing.assert_allclose(value, ot.divergence.kl(target, plan), rtol=1e-9)
