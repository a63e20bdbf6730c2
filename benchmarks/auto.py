"""`align(words="auto")` beside the default: seconds, and recall of test pairs.

3,000 rows of 50 and of 200 columns, of 10 shared factors and noise: linear in both, or the second
set by a tanh; 0, 40 and 80 % of the training and validation pairs wrong.

    python -m benchmarks.auto  # half an hour on two cores
"""

import time

import numpy as np

import gca_jax


def flat(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sets are linear in the factors."""
    z = rng.normal(size=(n, 10))
    a = z @ rng.normal(size=(10, 50)) + 2 * rng.normal(size=(n, 50))
    return a, z @ rng.normal(size=(10, 200)) + 2 * rng.normal(size=(n, 200))


def curved(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The second set is linear in 30 tanh of the factors."""
    z = rng.normal(size=(n, 10))
    a = z @ rng.normal(size=(10, 50)) + rng.normal(size=(n, 50))
    h = np.tanh(z @ rng.normal(size=(10, 30)) / 1.5)
    return a, h @ rng.normal(size=(30, 200)) + 4 * rng.normal(size=(n, 200))


def main() -> None:
    """Print a line for each set, share of wrong pairs and choice of methods."""
    for make in (flat, curved):
        a, b = make(np.random.default_rng(0), 3_000)
        for wrong in (0.0, 0.4, 0.8):
            for words in ("", "auto"):
                began = time.perf_counter()
                found = gca_jax.align(a, b, words=words, shuffled=wrong).report
                seconds = time.perf_counter() - began
                ways = [found["retrieval"][way]["recall_1"] for way in ("a_to_b", "b_to_a")]
                taken = found.get("candidates", {}).get("chosen", "default")
                both = ", ".join(f"{100 * way:.1f}" for way in ways)
                print(f"{make.__name__}, {wrong:.0%} wrong, {taken}: {both} in {seconds:.0f} s")


if __name__ == "__main__":
    main()
