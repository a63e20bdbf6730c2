"""The two small networks on top of an encoder: projector and predictor."""

from flax import linen as nn
from jaxtyping import Array, Float


class Projector(nn.Module):
    """Linear(hidden) - ReLU - Linear(dim), both without bias: the head of the published runs."""

    hidden: int
    dim: int

    @nn.compact
    def __call__(self, h: Float[Array, "b f"]) -> Float[Array, "b d"]:
        """Embed features."""
        h = nn.relu(nn.Dense(self.hidden, use_bias=False, name="hidden")(h))
        return nn.Dense(self.dim, use_bias=False, name="out")(h)


class Predictor(nn.Module):
    """BYOL's predictor: Linear(hidden) - batch norm - ReLU - Linear(dim) (arXiv 2006.07733)."""

    hidden: int
    dim: int

    @nn.compact
    def __call__(self, z: Float[Array, "b d"], train: bool) -> Float[Array, "b d"]:
        """Predict the other view's embeddings."""
        z = nn.Dense(self.hidden, name="hidden")(z)
        z = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name="norm")(z)
        return nn.Dense(self.dim, name="out")(nn.relu(z))
