"""Two towers, one for each of two sets, that map both to embeddings of one size."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gca_jax import check
from gca_jax.models import precision
from gca_jax.models.network import Embedded

TOWERS = ("residual", "linear", "mlp")
STARTED = ("linear", "residual")
"""Towers that can start from linear maps."""


class Tower(nn.Module):
    """A perceptron with hidden layers of these widths, each Linear - layer norm - ReLU, or none.

    A residual one is linear, plus a perceptron whose last layer, `branch`, is zero at first: it
    starts where a linear tower does.
    """

    hidden: tuple[int, ...]
    dim: int
    residual: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b f"]) -> Float[Array, "b d"]:
        """Embed rows of a set."""
        out, h = nn.Dense(self.dim, name="out"), x
        for index, width in enumerate(self.hidden):
            h = nn.Dense(width, name=f"hidden_{index}")(h)
            h = nn.relu(nn.LayerNorm(name=f"norm_{index}")(h))
        if not self.residual:
            return out(h)
        zeros = nn.initializers.zeros_init()
        return out(x) + nn.Dense(self.dim, use_bias=False, kernel_init=zeros, name="branch")(h)


class Towers(nn.Module):
    """A tower for each set, and the temperature where it is learned. Make one with `create`.

    Attributes:
        a: Tower of the one set.
        b: Tower of the other.
        epsilon: The learned ε at the start; None where ε is the loss's own setting.
        epsilon_min: Bound below which the learned ε does not fall.
        dtype: As in `network.create`.
    """

    a: nn.Module
    b: nn.Module
    epsilon: float | None = None
    epsilon_min: float = 0.03
    dtype: str | None = None

    def setup(self):
        """Name the temperature."""
        if self.epsilon is not None:
            start = jnp.log(self.epsilon)  # as CLIP's: steps are relative, and ε stays above 0
            self.log_epsilon = self.param("log_epsilon", lambda key: jnp.asarray(start))

    def __call__(
        self, x: Float[Array, "n f"], y: Float[Array, "m g"]
    ) -> tuple[Float[Array, "n d"], Float[Array, "m d"]]:
        """Embed rows of both sets."""
        return self.a(x), self.b(y)

    def embed_a(self, x: Float[Array, "n f"]) -> Float[Array, "n d"]:
        """Embed rows of the one set."""
        return self.a(x)

    def embed_b(self, y: Float[Array, "m g"]) -> Float[Array, "m d"]:
        """Embed rows of the other set."""
        return self.b(y)

    def temperature(self) -> Float[Array, ""] | None:
        """Return the learned ε, at least `epsilon_min`."""
        if self.epsilon is None:
            return None
        return jnp.maximum(jnp.exp(self.log_epsilon), self.epsilon_min)

    @nn.nowrap
    def blank(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Make a row of zeros of each width, as arguments of `touch`."""
        return jnp.zeros((1, shape[0])), jnp.zeros((1, shape[1]))

    def touch(self, x: Float[Array, "n f"], y: Float[Array, "m g"]) -> Any:
        """Run every part once, so that `init(..., method="touch")` creates all variables."""
        self.temperature()
        return self(x, y)

    @nn.nowrap
    def embed(self, variables: Any, views: tuple[Array, Array]) -> Embedded:
        """Embed a batch of pairs in training."""
        variables, views = precision.cast(variables, views, self.dtype)
        z_a, z_b = self.bind(variables)(*views)
        return Embedded((precision.embedding(z_a), precision.embedding(z_b)), {})

    @nn.nowrap
    def learned(self, variables: Any) -> Mapping[str, Any]:
        """Return the settings of the loss that the towers learn: the temperature, or none."""
        epsilon = self.bind(variables).temperature()
        return {} if epsilon is None else {"epsilon": epsilon, "epsilon_min": self.epsilon_min}


def create(
    *,
    tower_a: str,
    tower_b: str,
    hidden_a: Sequence[int],
    hidden_b: Sequence[int],
    dim: int,
    epsilon: float | None = None,
    epsilon_min: float = 0.03,
    dtype: str | None = None,
) -> Towers:
    """Make two towers from the `model` group of a config.

    Args:
        tower_a: "residual", a linear tower plus an mlp, or one of the two: "linear" or "mlp".
        tower_b: Likewise, of the other set.
        hidden_a: Widths of the hidden layers, which "linear" does not have.
        hidden_b: Likewise.
        dim: Size d of the embeddings of both.
        epsilon: See `Towers`.
        epsilon_min: See `Towers`.
        dtype: See `Towers`.

    Raises:
        ValueError: An unknown tower or dtype, a width below 1, an ε that is not above its bound.
    """
    towers: dict[str, Any] = {}
    for side, tower, hidden in (("a", tower_a, hidden_a), ("b", tower_b, hidden_b)):
        check.one_of(f"tower_{side}", tower, TOWERS)
        widths = () if tower == "linear" else tuple(hidden)
        for width in widths:
            check.at_least(f"a width of hidden_{side}", width, 1)
        towers[side] = Tower(widths, dim, residual=tower == "residual")
    check.at_least("dim", dim, 1)
    if epsilon is not None and not 0 < epsilon_min <= epsilon:
        raise ValueError(f"epsilon_min must be above 0 and at most {epsilon}, got {epsilon_min}")
    precision.check(dtype)
    return Towers(**towers, epsilon=epsilon, epsilon_min=epsilon_min, dtype=dtype)
