"""Any encoder under the heads; ResNet's weights are what they were before it was exchangeable."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from gca_jax import models
from gca_jax.models import Head, ResNet

HEADS = dict(projector_hidden=8, projector_dim=5)
TINY = dict(stage_sizes=(1,), block="basic", width=4, stem="cifar")
X = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))


class Fixed(nn.Module):
    """The network as it was: its encoder made inside."""

    predictor_hidden: int | None

    def setup(self):
        self.encoder = ResNet((1,), "basic", 4, "cifar")
        self.projector = Head(8, 5)
        if self.predictor_hidden is not None:
            self.predictor = Head(self.predictor_hidden, 5, batch_norm=True, use_bias=True)

    def __call__(self, x, train):
        z = self.projector(self.encoder(x, train))
        return z if self.predictor_hidden is None else self.predictor(z, train)


@pytest.mark.parametrize("predictor_hidden", [None, 6])
def test_a_resnet_has_the_weights_and_results_of_one_made_inside(predictor_hidden):
    network = models.create(**TINY, **HEADS, predictor_hidden=predictor_hidden)
    variables = network.init(jax.random.key(3), X, method="touch")
    fixed = Fixed(predictor_hidden)
    same = np.testing.assert_array_equal
    jax.tree.map(same, variables, fixed.init(jax.random.key(3), X, train=False))
    for train in (False, True):
        ours, updates = network.apply(variables, X, train, mutable=["batch_stats"])
        if predictor_hidden is not None:
            variables = {**variables, **updates}
            ours, updates = network.apply(
                variables, ours, train, method="predict", mutable=["batch_stats"]
            )
        theirs, expected = fixed.apply(variables, X, train, mutable=["batch_stats"])
        if predictor_hidden is None:
            same(ours, theirs)
            jax.tree.map(same, updates, expected)


class Plain(nn.Module):
    """An encoder from outside that does not ask whether it trains."""

    features: int = 6

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.features)(x.reshape(len(x), -1))


class Asking(nn.Module):
    """One that does, by keyword."""

    @nn.compact
    def __call__(self, x, *, train):
        return x.mean((1, 2)) + train


def test_a_module_from_outside_is_the_encoder():
    network = models.create(Plain(), **HEADS)
    variables = network.init(jax.random.key(0), X, method="touch")
    dense = variables["params"]["encoder"]["Dense_0"]
    kernel, bias = (np.asarray(dense[name]) for name in ("kernel", "bias"))
    expected = np.asarray(X).reshape(3, -1) @ kernel + bias
    got = network.apply(variables, X, method="encode")
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert network.apply(variables, X, train=True).shape == (3, 5)


def test_a_module_that_asks_is_told_whether_it_trains():
    network = models.create(Asking(), **HEADS)
    rest, trained = (network.apply({}, X, train, method="encode") for train in (False, True))
    np.testing.assert_array_equal(rest + 1, trained)


def test_a_network_is_a_static_argument_of_compiled_functions():
    one, two = (models.create(**TINY, **HEADS) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert models.create(Plain(7), **HEADS) != models.create(Plain(8), **HEADS)


class Listed(nn.Module):
    sizes: list

    def __call__(self, x):
        return x


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (Plain, "encoder must be a name or an instance of a Flax module, got a type"),
        (Listed([1]), "attributes of the encoder Listed must be hashable, such as tuples"),
        ("lstm", "encoder must be one of resnet, vit; got 'lstm'"),
    ],
)
def test_what_is_no_encoder_is_refused(encoder, message):
    with pytest.raises(ValueError, match=message) as caught:
        models.create(encoder, **HEADS)
    assert len(str(caught.value).splitlines()) == 1


def test_features_of_another_rank_are_refused():
    network = models.create(nn.Conv(4, (3, 3)), **HEADS)
    with pytest.raises(ValueError, match=r"encoder Conv must give features \[b, f\].*8, 8, 4\]"):
        network.init(jax.random.key(0), X, method="touch")


def test_settings_of_another_encoder_name_the_word_that_chooses_it():
    with pytest.raises(ValueError, match=r"resnet takes stage_sizes.* got patch; .*METHOD,resnet"):
        models.create("resnet", **HEADS, patch=4)
    with pytest.raises(ValueError, match=r"resnet takes stage_sizes.* got none; "):
        models.create(**HEADS)


@pytest.mark.parametrize("train", [False, True])
def test_a_projector_with_batch_norm_is_its_formula(train):
    network = models.create(Plain(), **HEADS, projector_batch_norm=True)
    variables = network.init(jax.random.key(0), X, method="touch")
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: x + 0.3 * rng.uniform(size=x.shape), variables)
    head = jax.device_get(variables["params"]["projector"])
    h = np.asarray(network.apply(variables, X, method="encode")) @ head["hidden"]["kernel"]
    stats = jax.device_get(variables["batch_stats"]["projector"]["norm"])
    mean, var = (h.mean(axis=0), h.var(axis=0)) if train else (stats["mean"], stats["var"])
    normal = (h - mean) / np.sqrt(var + 1e-5) * head["norm"]["scale"] + head["norm"]["bias"]
    expected = np.maximum(normal, 0) @ head["out"]["kernel"]
    z, updates = network.apply(variables, X, train, mutable=["batch_stats"])
    np.testing.assert_allclose(z, expected, rtol=1e-4, atol=1e-5)
    moved = 0.9 * stats["mean"] + 0.1 * h.mean(axis=0) if train else stats["mean"]
    found = updates["batch_stats"]["projector"]["norm"]["mean"]
    np.testing.assert_allclose(found, moved, rtol=1e-5)


@pytest.mark.parametrize("key", ["projector_hidden", "projector_dim", "predictor_hidden"])
def test_heads_have_a_width(key):
    with pytest.raises(ValueError, match=f"{key} must be an integer >= 1, got 0"):
        models.create(**TINY, **{**HEADS, key: 0})
