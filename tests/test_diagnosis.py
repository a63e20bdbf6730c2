"""What `aux` holds by default and what `diagnose=True` adds, against the matrices themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import losses, ot
from tests import reference, toy

N, EPSILON = 12, 0.3
BLOCKS = {"target": lambda: ot.target.blocks(np.arange(N) % 3, alpha=0.5, beta=0.1)}


def of_matrices(z_a, z_b, plan, target, layout):
    """All that is diagnosed of P at the target's mass, written out."""
    P, T = np.asarray(plan.matrix), np.asarray(target.matrix)
    P = P / P.sum()
    K = np.exp(-reference.cost_matrix(z_a, z_b, layout=layout) / EPSILON)
    mu, nu = T.sum(1), T.sum(0)
    residual = np.abs(P.sum(1) - mu).sum() + np.abs(P.sum(0) - nu).sum()
    partner = np.arange(len(P)) if layout == "cross" else np.roll(np.arange(len(P)), len(P) // 2)
    step = mu[:, None] * K / K.sum(1, keepdims=True) - T
    return {
        "residual": residual,
        "relative_residual": residual / np.abs(P - T).sum(),
        "plan_entropy": reference.entropy(P),
        "contrastive_accuracy": np.mean(K.argmax(1) == partner),
        "uniformity": (reference.uniformity(z_a) + reference.uniformity(z_b)) / 2,
        "ince_cosine": np.sum((P - T) * step) / np.linalg.norm(P - T) / np.linalg.norm(step),
    }


@pytest.mark.slow
@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize(
    ("name", "layout", "how"),
    [
        ("gca_ince", "joint", {}),
        ("gca_ince", "cross", {"block_size": 5}),
        ("gca_ince", "joint", {"domain": "log", **BLOCKS}),
        ("gca_uot", "joint", BLOCKS),
        ("ince", "cross", BLOCKS),
    ],
)
def test_the_diagnosis_is_that_of_the_matrices(name, layout, how):
    views = toy.batch(3, n=N, d=4)
    words = {"epsilon": EPSILON, "layout": layout, "diagnose": True, "keep_plan": True, **how}
    words |= {"target": words["target"]()} if "target" in words else {}
    with jax.enable_x64(True):
        _, aux = losses.METHODS[name](*views, **words)
        want = of_matrices(*views, aux["plan"], aux["target"], layout)
    for key in want.keys() & aux.keys():
        np.testing.assert_allclose(aux[key], want[key], rtol=1e-9, atol=1e-12, err_msg=key)
    assert want.keys() - aux.keys() == (set() if name != "gca_uot" else {"ince_cosine"})


def test_without_the_diagnosis_value_and_gradient_are_the_same():
    views = tuple(np.float32(z) for z in toy.batch(3, n=N, d=4))

    @jax.jit
    def step(views, wanted):
        loss = lambda views: losses.gca_uot(*views, layout="joint", diagnose=wanted)  # noqa: E731
        return jax.value_and_grad(loss, has_aux=True)(views)

    (value, aux), slopes = step(views, True)
    (same, less), same_slopes = step(views, False)
    assert value == same
    jax.tree.map(np.testing.assert_array_equal, slopes, same_slopes)
    diagnosed = {"uniformity", "plan_entropy", "relative_residual", "contrastive_accuracy"}
    assert aux.keys() == less.keys() > diagnosed
    for key in aux:
        if key in diagnosed:
            assert np.isfinite(aux[key]), key
            assert np.isnan(less[key]), key
        else:  # the residual is known from the sweeps alone
            np.testing.assert_allclose(aux[key], less[key], rtol=1e-3, atol=1e-6, err_msg=key)
    alone, plain = losses.gca_uot(*views, layout="joint")
    np.testing.assert_allclose(alone, value, rtol=1e-6)
    assert plain.keys() == aux.keys() - diagnosed


def test_a_number_that_was_not_asked_for_is_named():
    z = jnp.eye(4)
    _, aux = losses.gca_ince(z, z)
    assert np.isnan(aux["residual"])  # the sweeps end at the columns: P1 takes another pass
    with pytest.raises(KeyError, match="uniformity is computed with diagnose=True"):
        aux["uniformity"]
    with pytest.raises(KeyError, match=r"^'unifomity'$"):
        aux["unifomity"]
    assert aux.get("uniformity") is None
    assert type(jax.tree.map(lambda x: x, aux)) is type(aux)


@pytest.mark.parametrize(
    ("domain", "taus"),
    [
        ("scaling", (1.0, 1.0)),
        ("scaling", (0.3, 0.6)),
        ("scaling", (0.3, 0.0)),
        ("log", (0.3, 0.6)),
    ],
)
def test_what_the_sweeps_know_of_the_residual(domain, taus):
    with jax.enable_x64(True):
        kernel = ot.cosine_kernel(*toy.batch(0), epsilon=0.25, domain=domain)
        mu = jnp.asarray([0.0, *np.full(kernel.shape[0] - 1, 1 / (kernel.shape[0] - 1))])
        how = {"tau_a": taus[0], "tau_b": taus[1], "mu": mu, "nu": mu, "keep_rows": True}
        plan = ot.project(kernel, iterations=3, **how)
        P = np.asarray(plan.matrix)
        if taus[1]:
            np.testing.assert_allclose(plan.columns, P.sum(0), rtol=1e-9, atol=1e-14)
        P = P / P.sum()
        residual = np.abs(P.sum(1) - mu).sum() + np.abs(P.sum(0) - mu).sum()
        known = taus[1] > 0 and domain == "scaling"
        np.testing.assert_allclose(plan.known_residual, residual if known else np.nan, rtol=1e-7)
