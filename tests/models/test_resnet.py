"""Published parameter counts and shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax.models import ResNet, ResNet18, ResNet50, create

TINY = dict(
    stage_sizes=(1, 1), block="basic", width=4, stem="cifar", projector_hidden=8, projector_dim=5
)


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def abstract(module, side, channels=3, **kwargs):
    x = jax.ShapeDtypeStruct((2, side, side, channels), jnp.float32)
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, **kwargs), x)


@pytest.mark.parametrize(
    ("module", "side", "published"),
    [
        (ResNet18(stem="cifar", num_classes=10), 32, 11_173_962),
        (ResNet18(stem="imagenet", num_classes=1000), 224, 11_689_512),
        (ResNet50(stem="imagenet", num_classes=1000), 224, 25_557_032),
    ],
)
def test_parameter_counts_are_the_published_ones(module, side, published):
    assert count(abstract(module, side)) == published


@pytest.mark.parametrize(
    ("stem", "side", "features"), [("cifar", 32, (2, 4, 4, 512)), ("imagenet", 224, (2, 7, 7, 512))]
)
def test_the_last_stage_has_the_published_resolution(stem, side, features):
    module = ResNet18(stem=stem)
    variables = abstract(module, side)
    x = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    _, state = jax.eval_shape(
        lambda v, x: module.apply(v, x, capture_intermediates=True), variables, x
    )
    last = state["intermediates"]["stage3_block1"]["__call__"][0]
    assert last.shape == features


def test_strided_convolution_pads_both_sides_as_torchvision_does():
    # A stride-2 3x3 convolution of ones on ones, padded by one on both sides: the first output sees
    # 2x2 pixels of the image and the later ones 3x3; one-sided ("SAME") padding gives 9, ..., 4.
    from gca_jax.models.resnet import conv

    layer = conv(1, 3, 2, "c")
    x = jnp.ones((1, 4, 4, 1))
    y = layer.apply({"params": {"kernel": jnp.ones((3, 3, 1, 1))}}, x)
    np.testing.assert_array_equal(y[0, :, :, 0], [[4, 6], [6, 9]])


def test_residual_scales_start_at_one():
    variables = ResNet(stage_sizes=(1, 1), width=4).init(jax.random.key(0), jnp.ones((2, 8, 8, 1)))
    scales = [
        leaf
        for path, leaf in jax.tree.leaves_with_path(variables["params"])
        if path[-1].key == "scale"
    ]
    assert len(scales) == 1 + 2 + 3
    assert all(np.all(np.asarray(scale) == 1) for scale in scales)


def test_network_gives_embeddings_features_and_predictions():
    network = create(**TINY, predictor_hidden=6)
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    variables = network.init(jax.random.key(0), x, method="touch")
    assert set(variables["params"]) == {"encoder", "projector", "predictor"}
    z = network.apply(variables, x)
    features = network.apply(variables, x, method="encode")
    assert z.shape == (3, 5)
    assert features.shape == (3, 8)
    assert network.apply(variables, z, method="predict").shape == (3, 5)
    hidden = np.maximum(features @ variables["params"]["projector"]["hidden"]["kernel"], 0)
    expected = hidden @ variables["params"]["projector"]["out"]["kernel"]
    np.testing.assert_allclose(z, expected, rtol=1e-4, atol=1e-5)


def test_training_updates_batch_statistics_and_evaluation_does_not():
    network = create(**TINY)
    x = 3 + jax.random.normal(jax.random.key(1), (16, 8, 8, 1))
    variables = network.init(jax.random.key(0), x, method="touch")
    _, trained = network.apply(variables, x, train=True, mutable=["batch_stats"])
    _, frozen = network.apply(variables, x, train=False, mutable=["batch_stats"])
    before, after = variables["batch_stats"], trained["batch_stats"]
    assert all(
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    )
    jax.tree.map(np.testing.assert_array_equal, before, frozen["batch_stats"])


def test_predict_returns_all_batch_statistics():
    network = create(**TINY, predictor_hidden=6)
    x = jnp.ones((4, 8, 8, 1))
    variables = network.init(jax.random.key(0), x, method="touch")
    z = jnp.eye(4, 5)
    _, updates = network.apply(variables, z, train=True, method="predict", mutable=["batch_stats"])
    assert jax.tree.structure(updates["batch_stats"]) == jax.tree.structure(
        variables["batch_stats"]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": "dense"}, "block must be one of basic, bottleneck; got 'dense'"),
        ({"stem": "vit"}, "stem must be one of cifar, imagenet; got 'vit'"),
        ({"width": 0}, "width must be an integer >= 1, got 0"),
        ({"stage_sizes": ()}, "stage_sizes needs at least one block"),
    ],
)
def test_wrong_values_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        create(**{**TINY, **change})
