"""The theorems: each also in NumPy here, and what the library says of each on its own batches."""

import functools
import itertools
import re
import sys

import jax
import numpy as np
import pytest

from gca_jax import theorems
from gca_jax.theorems import __main__
from tests import reference, toy

STATEMENTS = {
    "theorem_1": {},
    "theorem_2": {"q": 0.3, "lam": 0.2},
    "theorem_3": {},
    "theorem_4": {},
    "theorem_5": {"iterations": 3},
    "theorem_7": {"iterations": 3},
    "limit_rince_to_ince": {"lam": 0.3},
}
SETTINGS = [(0.0, 0.05), (0.3, 0.5), (2.0, 2.0)]  # view noise, epsilon


def kernel(z_a, z_b, epsilon):
    return np.exp(-reference.cost_matrix(z_a, z_b) / epsilon)


def half_steps(K, mu, nu, count):
    """u, v after 0, 1, ..., count half-steps."""
    return [reference.scalings(K, mu, nu, t) for t in range(count + 1)]


# --- the mathematics, in NumPy alone --------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_theorem_5_in_numpy_for_a_target_with_any_marginals(seed):
    z_a, z_b = toy.batch(seed)
    T = reference.blocks([0, 0, 1, 1, 2], [0, 0, 1, 1, 2], 0.4, 0.1)
    K = kernel(z_a, z_b, 0.1)
    plans = [u[:, None] * K * v for u, v in half_steps(K, T.sum(1), T.sum(0), 8)]
    for P, after in itertools.pairwise(plans[1:]):
        drop = reference.kl(T, P) - reference.kl(T, after)
        np.testing.assert_allclose(drop, reference.kl(after, P), atol=1e-12)
        assert drop >= -1e-12


@pytest.mark.parametrize("seed", range(5))
def test_theorem_7_in_numpy(seed):
    z_a, z_b = toy.batch(seed)
    K, uniform, epsilon = kernel(z_a, z_b, 0.1), np.full(5, 0.2), 0.1
    duals = []
    for u, v in half_steps(K, uniform, uniform, 8):
        f, g = epsilon * np.log(u), epsilon * np.log(v)
        duals.append(f @ uniform + g @ uniform - epsilon * np.sum(u[:, None] * K * v))
    assert (np.diff(duals) >= -1e-12).all()


def violation(z_a, z_b, lam, epsilon, iterations):
    """GCA-RINCE - RINCE at q = 1, relative to RINCE's size; positive where Theorem 6 fails."""
    words = {"epsilon": epsilon, "q": 1.0, "lam": lam}
    rince = reference.rince(z_a, z_b, **words)
    return reference.gca_rince(z_a, z_b, iterations=iterations, **words) - rince, abs(rince)


def test_theorem_6_fails_on_the_kept_counterexample():
    z_a, z_b, hyper = theorems.THEOREM_6_COUNTEREXAMPLE
    difference, size = violation(np.asarray(z_a), np.asarray(z_b), **hyper)
    assert difference > 1e-3 * size
    with jax.enable_x64(True):
        check = jax.jit(functools.partial(theorems.theorem_6, **hyper))(z_a, z_b)
        assert not check.holds
        assert check.residual > 1e-3


@pytest.mark.parametrize("lam", [0.01, None, 1.0])
def test_theorem_6_holds_on_aligned_batches(lam):
    for seed in range(20):
        n = 2 + seed % 7
        z, _ = toy.batch(seed, n=n, d=2 + seed % 5)
        words = {"epsilon": [0.05, 0.3, 2.0][seed % 3], "lam": lam or 1 / n, "iterations": 4}
        difference, size = violation(z, z, **words)
        assert difference <= 1e-10 * size


def test_theorem_6_fails_sometimes_with_independent_noise():
    words = {"epsilon": 0.3, "lam": 0.01, "iterations": 10}
    differences = [violation(*toy.batch(seed, noise=1.0), **words)[0] for seed in range(40)]
    assert 5 < sum(difference > 0 for difference in differences) < 35


def test_theorem_6_residual_is_the_violation():
    """Its verdict on a batch is NumPy's, either way."""
    words, verdicts = {"lam": 0.2, "epsilon": 0.3, "iterations": 5}, set()
    with jax.enable_x64(True):
        check = jax.jit(functools.partial(theorems.theorem_6, **words))
        for seed in range(6):
            z_a, z_b = toy.batch(seed, noise=1.0)
            difference, _ = violation(z_a, z_b, **words)
            verdicts.add(holds := bool(check(z_a, z_b).holds))
            assert holds == (difference <= 1e-10)
    assert verdicts == {True, False}, "choose seeds with both"


# --- what the library says -----------------------------------------------------------------


@pytest.mark.parametrize("name", STATEMENTS)
def test_statements_that_always_hold(name):
    with jax.enable_x64(True):
        check = jax.jit(functools.partial(getattr(theorems, name), **STATEMENTS[name]))
        for noise, epsilon in SETTINGS:
            words = {} if name == "theorem_4" else {"epsilon": epsilon}
            result = check(*toy.batch(1, noise=noise), **words)
            assert result.holds, (noise, epsilon, result)
            assert 0 <= result.residual <= result.tolerance
            assert result.statement


def test_theorem_5_takes_any_target_and_float32():
    z_a, z_b = (np.float32(z) for z in toy.batch(1))
    target = np.float32(reference.blocks([0, 0, 1, 1, 2], [0, 0, 1, 1, 2], 0.4, 0.1))
    check = jax.jit(functools.partial(theorems.theorem_5, target=target, iterations=2))
    assert check(z_a, z_b).holds


@pytest.mark.slow
def test_the_command_prints_a_table_in_which_what_always_holds_held(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["theorems", "--batches=12"])
    monkeypatch.setattr(__main__, "SHAPES", ((2, 2), (16, 4)))  # of three, each compiled
    try:
        __main__.main()
    finally:
        jax.config.update("jax_enable_x64", False)
    lines = [line for line in capsys.readouterr().out.splitlines() if re.search(r"\d+ / \d+", line)]
    for name in ("1", "2", "limit", "3", "4", "5", "6", "7"):
        assert any(re.match(rf"{name}\b", line) for line in lines), name
    for line in lines:
        held, tried = map(int, re.search(r"(\d+) / (\d+)", line).groups())
        assert tried > 0
        if " always " in line and "not always" not in line:
            assert held == tried, line
    (counterexample,) = (line for line in lines if "counterexample" in line)
    assert "0 / 1" in counterexample
