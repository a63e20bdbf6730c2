"""A transcription of the vision transformer in NumPy, published parameter counts, mistakes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import models
from gca_jax.models import ENCODERS, ViT, vit

pytestmark = pytest.mark.slow

HEADS = dict(projector_hidden=8, projector_dim=5)
TINY = dict(width=8, depth=2, heads=2, patch=2, positions="sincos")


def normalise(x, weights):
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return centred / scale * weights["scale"] + weights["bias"]


def linear(x, weights):
    return x @ weights["kernel"] + weights["bias"]


def attention(x, weights):
    """Of one image [n, w], head by head."""
    out = weights["out"]["bias"]
    for head in range(weights["query"]["kernel"].shape[1]):
        q, k, v = (
            x @ weights[name]["kernel"][:, head] + weights[name]["bias"][head]
            for name in ("query", "key", "value")
        )
        scores = np.exp(q @ k.T / math.sqrt(q.shape[-1]))
        out = out + scores / scores.sum(1, keepdims=True) @ v @ weights["out"]["kernel"][head]
    return out


def gelu(x):
    return x * np.vectorize(lambda t: (1 + math.erf(t / math.sqrt(2))) / 2)(x)


def sincos(row, column, width):
    angles = [10_000 ** (-4 * i / width) for i in range(width // 4)]
    return [f(n * a) for n in (column, row) for f in (math.sin, math.cos) for a in angles]


def transcription(image, weights, patch, depth):
    """Features of one image [h, w, c]."""
    tokens = []
    for row in range(image.shape[0] // patch):
        for column in range(image.shape[1] // patch):
            square = image[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            token = linear(square.ravel(), weights["patches"])
            if "positions" in weights:
                tokens.append(token + weights["positions"][0, row, column])
            else:
                tokens.append(token + sincos(row, column, len(token)))
    x = np.stack(tokens)
    for index in range(depth):
        block = weights[f"block{index}"]
        x = x + attention(normalise(x, block["norm1"]), block["attention"])
        x = x + linear(gelu(linear(normalise(x, block["norm2"]), block["hidden"])), block["out"])
    return normalise(x, weights["norm"]).mean(0)


@pytest.mark.parametrize("positions", vit.POSITIONS)
def test_features_are_those_of_the_equations(positions):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 6, 4, 2)).astype(np.float32)
    module = vit.create(**{**TINY, "positions": positions})
    params = jax.jit(module.init)(jax.random.key(0), images)["params"]
    # Biases and scales off their initial values, so that each of them counts.
    params = jax.tree.map(lambda p: p + rng.normal(size=p.shape).astype(np.float32) / 5, params)
    got = jax.jit(module.apply)({"params": params}, images)
    weights = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    expected = [transcription(image, weights, TINY["patch"], TINY["depth"]) for image in images]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "deit"), [("Ti", 5_717_416), ("S", 22_050_664)])
def test_parameter_counts_are_deit_s_without_class_token_and_head(size, deit):
    """DeiT/16 at 224 pixels; the class token has a position of its own, the head 1,000 classes."""
    module = ViT(**vit.SIZES[size], patch=16, positions="learned")
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    params = jax.eval_shape(lambda x: module.init(jax.random.key(0), x), x)["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    width = vit.SIZES[size]["width"]
    head, class_token = 1000 * width + 1000, 2 * width
    assert count == deit - head - class_token


def test_weights_start_as_moco_v3_s():
    """Uniform within +-sqrt(6 / (inputs + outputs)), queries, keys and values each on its own."""
    module = ViT(width=64, depth=1, heads=4, patch=4, positions="learned")
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    block = params["block0"]
    for weights, inputs, outputs in [
        (params["patches"], 48, 64),
        *((block["attention"][name], 64, 64) for name in ("query", "key", "value", "out")),
        (block["hidden"], 64, 256),
        (block["out"], 256, 64),
    ]:
        limit = math.sqrt(6 / (inputs + outputs))
        assert weights["kernel"].size == inputs * outputs
        np.testing.assert_allclose(np.abs(weights["kernel"]).max(), limit, rtol=0.01)
        np.testing.assert_allclose(np.std(weights["kernel"]), limit / math.sqrt(3), rtol=0.05)
        np.testing.assert_array_equal(weights["bias"], np.zeros(weights["bias"].shape))
    np.testing.assert_allclose(np.std(params["positions"]), 0.02, rtol=0.05)


def test_learned_positions_are_for_images_of_one_size():
    network = models.create("vit", **{**TINY, "positions": "learned"}, **HEADS)
    init = jax.jit(network.init)
    variables = init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    with pytest.raises(ValueError, match=r"for images of 8 x 8 pixels got .* 12 x 8"):
        jax.eval_shape(network.apply, variables, jnp.zeros((1, 12, 8, 1)))


def test_a_patch_that_does_not_divide_the_image_is_refused():
    network = models.create("vit", **{**TINY, "patch": 3}, **HEADS)
    with pytest.raises(ValueError, match=r"patch must divide .* 9 x 8 pixels; got 3"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 9, 8, 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": "rotary"}, "positions must be one of learned, sincos; got 'rotary'"),
        ({"depth": 0}, "depth must be an integer >= 1, got 0"),
        ({"heads": 3}, "width must divide by heads, 3; got 8"),
        ({"width": 6}, "width must divide by 4 for sincos positions, got 6"),
    ],
)
def test_wrong_values_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        models.create("vit", **{**TINY, **change}, **HEADS)


@pytest.mark.parametrize("side", [8, 28, 32, 64, 96, 224])
def test_the_settings_for_a_side_fit_it(side):
    settings = ENCODERS["vit"].settings(side)
    for chosen in (settings, ENCODERS["vit"].smoke(settings)):
        network = models.create("vit", **chosen, **HEADS)
        x = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        z, _ = jax.eval_shape(lambda x, n=network: n.init_with_output(jax.random.key(0), x), x)
        assert z.shape == (1, 5)
    assert 16 <= (side // settings["patch"]) ** 2 <= 256
