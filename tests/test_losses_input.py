"""Bad input is refused in one line; extreme input gives finite values and gradients."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import losses
from tests import processes, reference, toy

KERNEL_METHODS = [name for name in losses.METHODS if name != "byol"]
LAYOUTS = [name for name in KERNEL_METHODS if "layout" in losses.keywords(name)]
SINKHORN = ["gca_ince", "gca_rince", "gca_uot", "iot", "iot_uni"]
RINCE_FAMILY = ["rince", "gca_rince", "gca_uot"]
INF, NAN = float("inf"), float("nan")


def views(shape_a=(4, 3), shape_b=(4, 3)):
    return jnp.ones(shape_a), jnp.ones(shape_b)


# methods that take the argument, arguments, words that the message must have
BAD_VALUES = [
    (KERNEL_METHODS, {"epsilon": 0.0}, ["epsilon", "0"]),
    (KERNEL_METHODS, {"epsilon": -0.5}, ["epsilon", "-0.5"]),
    (KERNEL_METHODS, {"epsilon": NAN}, ["epsilon", "nan"]),
    (KERNEL_METHODS, {"epsilon": np.array([0.1, 0.2])}, ["epsilon", "number", "0.2"]),
    (KERNEL_METHODS, {"epsilon": "0.1"}, ["epsilon", "number", "'0.1'"]),
    (KERNEL_METHODS, {"epsilon": None}, ["epsilon", "number", "None"]),
    (LAYOUTS, {"layout": "crossed"}, ["layout", "crossed", "cross", "joint"]),
    (LAYOUTS, {"layout": "joint", "self_pairs": "x"}, ["self_pairs", "exclude", "max_cost"]),
    (LAYOUTS, {"layout": "cross", "self_pairs": "max_cost"}, ["self_pairs", "joint"]),
    (KERNEL_METHODS, {"similarity_floor": 2.0}, ["similarity_floor", "2.0"]),
    (LAYOUTS, {"layout": "cross", "target": -np.eye(4)}, ["target", "-1"]),
    (LAYOUTS, {"layout": "cross", "target": np.zeros((4, 4))}, ["target"]),
    (LAYOUTS, {"layout": "cross", "target": np.full((4, 4), "x")}, ["target", "numbers", "text"]),
    (LAYOUTS, {"layout": "cross", "target": np.eye(3)}, ["target", "(3, 3)", "(4, 4)"]),
    (LAYOUTS, {"layout": "joint", "target": np.eye(4)}, ["target", "(4, 4)", "(8, 8)"]),
    (LAYOUTS, {"layout": "joint", "target": np.ones((8, 8))}, ["target", "self"]),
    (["byol"], {"target": -np.eye(4)}, ["target", "-1"]),
    (["byol"], {"target": np.zeros((4, 4))}, ["target"]),
    (["byol"], {"target": np.eye(3)}, ["target", "(3, 3)"]),
    (["ince", *SINKHORN], {"marginals": "x"}, ["marginals", "target", "uniform"]),
    (["ince", *SINKHORN], {"layout": "cross", "mu": np.ones(3) / 3}, ["mu", "(3,)", "(4,)"]),
    (["ince", *SINKHORN], {"layout": "cross", "mu": np.array([2, -1, 0, 0.0])}, ["mu", "-1"]),
    (SINKHORN, {"layout": "cross", "nu": np.zeros(4)}, ["nu"]),
    (SINKHORN, {"iterations": 0}, ["iterations", "0"]),
    (SINKHORN, {"iterations": -3}, ["iterations", "-3"]),
    (SINKHORN, {"iterations": 1.5}, ["iterations", "1.5"]),
    (["gca_ince", "iot"], {"until": -1.0, "gradient": "implicit"}, ["until", "-1.0"]),
    (RINCE_FAMILY, {"q": 0.0}, ["q", "0"]),
    (RINCE_FAMILY, {"q": 1.01}, ["q", "1.01"]),
    (RINCE_FAMILY, {"q": -0.5}, ["q", "-0.5"]),
    (RINCE_FAMILY, {"lam": 0.0}, ["lam", "0"]),
    (RINCE_FAMILY, {"lam": -1.0}, ["lam", "-1.0"]),
    (["gca_uot"], {"penalty_a": np.ones(3)}, ["penalty_a", "(4,)", "(3,)"]),
    (["gca_uot"], {"penalty_b": np.array([1, 1, -2, 1.0])}, ["penalty_b", "-2"]),
    (["gca_uot"], {"penalty_a": -0.1}, ["penalty_a", "-0.1"]),
    (["gca_uot"], {"penalty_b": NAN}, ["penalty_b", "nan"]),
    (["gca_uot"], {"mass": "row"}, ["mass", "row", "rows", "generalized", "total"]),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "words", "says"),
    [(name, words, says) for names, words, says in BAD_VALUES for name in names],
)
def test_a_bad_value_is_refused_naming_the_argument_its_value_and_what_is_allowed(
    name, words, says
):
    with pytest.raises(ValueError, match=rf"\b{re.escape(says[0])}\b") as error:
        losses.METHODS[name](*views(), **words)
    message = str(error.value)
    assert "\n" not in message
    for text in says:
        assert text in message


@pytest.mark.usefixtures("unchecked")
def test_sizes_and_counts_that_are_traced_are_refused():
    with pytest.raises(ValueError, match=r"epsilon must be a finite number > 0, got .*\[4\]"):
        jax.jit(losses.ince)(*views(), epsilon=jnp.ones(4))
    with pytest.raises(ValueError, match=r"iterations is traced.*static_argnames"):
        jax.jit(losses.gca_ince)(*views(), iterations=3)


BAD_VIEWS = [
    (views((4,), (4, 3)), ["z_a", "(4,)"]),
    (views((4, 3), (4, 3, 1)), ["z_b", "(4, 3, 1)"]),
    (views((4, 3), (4, 2)), ["z_a", "z_b", "(4, 3)", "(4, 2)"]),
    (views((0, 3), (0, 3)), ["z_a", "(0, 3)"]),
    ((jnp.ones((4, 3), jnp.int32), jnp.ones((4, 3))), ["z_a", "int32"]),
    ((np.full((4, 3), "x"), np.ones((4, 3))), ["z_a must be numbers, got text such as 'x'"]),
    ((np.ones((4, 3)), np.array([["x"], [1.0]], object)), ["z_b must be numbers, got text"]),
    ((np.ones((4, 3)), np.zeros((4, 3), "M8[s]")), ["z_b must be numbers, got times"]),
    ((np.ma.masked_array(np.ones((4, 3)), np.eye(4, 3)), np.ones((4, 3))), ["z_a is a masked"]),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", losses.METHODS)
def test_bad_views_are_refused_with_their_shapes(name):
    for arguments, says in BAD_VIEWS:
        with pytest.raises(ValueError, match=says[0]) as error:
            losses.METHODS[name](*arguments)
        for text in says:
            assert text in str(error.value)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("side", [0, 1])
def test_a_tensor_whose_gradient_would_end_here_is_refused(side):
    class Tensor(np.ndarray):  # as PyTorch's; tests/test_guide.py has the real one, where it is
        requires_grad = True

    pair = list(views())
    pair[side] = np.asarray(pair[side]).view(Tensor)
    name = ("z_a", "z_b")[side]
    with pytest.raises(ValueError, match=rf"{name} is a PyTorch tensor .* or {name}.detach\(\)"):
        losses.ince(*pair)


@pytest.mark.parametrize("name", ["simclr", "iot", "gca_uot"])
def test_as_many_rows_in_both_views_where_the_target_pairs_them(name):
    words = {"layout": "joint"} if name == "gca_uot" else {}
    with pytest.raises(ValueError, match="z_a") as error:
        losses.METHODS[name](*views((4, 3), (5, 3)), **words)
    assert "(5, 3)" in str(error.value)


UNSUPPORTED = [
    ("byol", "epsilon"), ("byol", "layout"), ("byol", "iterations"), ("byol", "cost_fn"),
    ("ince", "nu"), ("ince", "iterations"), ("ince", "gradient"), ("ince", "q"),
    ("rince", "gradient"), ("rince", "until"), ("simclr", "lam"), ("iot", "lam_p"),
    ("gca_ince", "penalty_a"), ("gca_rince", "mass"), ("gca_rince", "until"),
    ("gca_rince", "gradient"),
    ("clip", "layout"),
    ("iot_uni", "w_kl"), ("gca_uot", "tau_a"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "keyword"), UNSUPPORTED)
def test_an_unsupported_keyword_is_refused_naming_the_method_and_the_keyword(name, keyword):
    with pytest.raises(TypeError, match=rf"\b{name}\b.*\b{keyword}\b"):
        losses.METHODS[name](*views(), **{keyword: 1})


def test_a_misspelt_keyword_is_answered_with_the_right_ones():
    with pytest.raises(TypeError, match="gca_uot takes no epsilonn; it takes epsilon, iterations"):
        losses.gca_uot(*views(), epsilonn=1)


MISSPELT = """
import jax.numpy as jnp
from gca_jax.losses import clip, gca_uot
z = jnp.ones((2, 2))
gca_uot(z, z, epsilon=1.0, block_size=2)
gca_uot(z, z, epsilonn=1)
clip(z, z, layout="joint")
gca_uot(z, z, mass="row")
"""


@pytest.mark.slow
def test_the_type_checker_refuses_a_misspelt_keyword(tmp_path):
    (tmp_path / "misspelt.py").write_text(MISSPELT)
    command = [sys.executable, "-m", "mypy", str(tmp_path / "misspelt.py")]  # with lint's cache
    out = subprocess.run(command, cwd=processes.ROOT, capture_output=True, text=True).stdout
    found = re.findall(r"misspelt\.py:(\d+): error: (.*)  \[", out)
    assert [int(line) for line, _ in found] == [6, 7, 8], out
    assert "epsilonn" in found[0][1]
    assert "layout" in found[1][1]


DEGENERATE = {
    "a zero row": lambda a, b: (a.at[0].set(0.0), b),
    "zero rows on both sides": lambda a, b: (a.at[0].set(0.0), b.at[0].set(0.0)),
    "all zero": lambda a, b: (0 * a, 0 * b),
    "two equal": lambda a, b: (a.at[1].set(a[0]), b.at[1].set(b[0])),
    "views equal": lambda a, b: (a, a),
    "antipodal": lambda a, b: (a, -a),
    "tiny": lambda a, b: (1e-20 * a, 1e-20 * b),
    "huge": lambda a, b: (1e18 * a, 1e18 * b),
}


def test_an_entry_that_is_not_finite_is_named_as_the_cause():
    z = jnp.eye(4).at[2, 1].set(NAN)
    with pytest.warns(
        RuntimeWarning, match="gca_uot is nan: z_a or z_b has an entry that is not f"
    ):
        losses.gca_uot(z, jnp.eye(4))


@pytest.mark.parametrize("name", losses.METHODS)
def test_degenerate_embeddings_give_finite_values_and_gradients(name):
    """One compiled loss for all of them, at an epsilon far below the default."""
    z_a, z_b = (jnp.float32(z) for z in toy.batch(0, n=4, d=3))
    words = {} if name == "byol" else {"epsilon": 0.05}
    loss = losses.METHODS[name]
    run = jax.jit(jax.value_and_grad(lambda z: loss(*z, diagnose=True, **words), has_aux=True))
    for case, change in DEGENERATE.items():
        (value, aux), slopes = run(change(z_a, z_b))
        assert np.isfinite(value), case
        assert all(np.isfinite(number) for number in aux.values()), (case, aux)
        assert all(np.isfinite(slope).all() for slope in slopes), case


@pytest.mark.parametrize("name", KERNEL_METHODS)
def test_epsilon_from_0_01_to_10(name):
    """float32 against the reference where the value itself is within float32's range."""
    z_a, z_b = toy.batch(1, n=4, d=3)
    loss = losses.METHODS[name]
    run = jax.jit(jax.value_and_grad(lambda z, e: loss(*z, epsilon=e)[0]))
    for epsilon in (0.01, 0.02, 0.1, 1.0, 10.0):
        want = reference.METHODS[name](z_a, z_b, epsilon=epsilon)
        if np.abs(want) > 1e30:
            continue  # RINCE's own size; the test below
        value, slopes = run((jnp.float32(z_a), jnp.float32(z_b)), epsilon)
        # scores of size 1/epsilon carry float32's relative error into exp
        np.testing.assert_allclose(value, want, rtol=2e-5 + 2e-6 / epsilon, atol=2e-6 / epsilon)
        assert all(np.isfinite(slope).all() for slope in slopes)


@pytest.mark.parametrize("name", RINCE_FAMILY)
def test_overflow_of_rince_is_reported_never_silent(name):
    """e^(q/epsilon) leaves float32 at epsilon 0.01; aux says so, and eagerly a warning does too."""
    z_a, z_b = (jnp.float32(z) for z in toy.batch(2, n=4, d=3, noise=0.05))
    run = jax.jit(lambda e: losses.METHODS[name](z_a, z_b, epsilon=e))
    value, aux = run(0.5)
    assert np.isfinite(value)
    assert not aux["overflow"]
    value, aux = run(0.01)
    assert np.isfinite(value) != bool(aux["overflow"])
    if name != "gca_uot":
        assert aux["overflow"]
        with pytest.warns(RuntimeWarning, match=rf"{name}.*epsilon"):
            losses.METHODS[name](z_a, z_b, epsilon=0.01)


@pytest.mark.usefixtures("unchecked")
def test_keywords_of_a_method_that_there_is_not():
    with pytest.raises(ValueError, match=r"method must be one of byol, clip, .*; got 'foo'"):
        losses.keywords("foo")
