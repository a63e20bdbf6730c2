from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import losses, models
from gca_jax.evaluation import views
from gca_jax.training import state

LABELS = np.repeat(np.arange(5), 9).astype(np.int32)
IMAGES = np.random.default_rng(0).integers(0, 256, (45, 8, 8, 1)).astype(np.uint8)


def make_views(key, images):
    x = images.astype(jnp.float32) / 255
    a, b = (jax.random.normal(k, x.shape) * 0.1 for k in jax.random.split(key))
    return x + a, x + b


def fake_embed(key, images):
    """A noisy embedding in which the first pixel is all that an image is."""
    x = jax.nn.one_hot(images[:, 0, 0, 0], 5)
    a, b = (jax.random.normal(k, x.shape) * 0.01 for k in jax.random.split(key))
    return x + a, x + b


@pytest.fixture(scope="module")
def embed():
    network = models.create(
        stage_sizes=(1,), block="basic", width=4, stem="cifar", projector_hidden=16, projector_dim=6
    )
    variables = state.init_variables(network, jax.random.key(0), (8, 8, 1))
    return partial(views.embed, network, make_views, variables)


def test_every_image_gets_a_pair_that_no_batch_fill_touches(embed):
    z_a, z_b = views.embed_all(embed, IMAGES, jax.random.key(0), 20)
    assert z_a.shape == z_b.shape == (45, 6)
    first = embed(jax.random.fold_in(jax.random.key(0), 0), IMAGES[:20])
    np.testing.assert_array_equal(z_a[:20], first[0])
    assert not np.allclose(z_a, z_b)


def test_representation_equals_its_definitions():
    rng = np.random.default_rng(0)
    z_a, z_b = rng.normal(size=(2, 12, 3)).astype(np.float32)
    out = views.representation(jnp.asarray(z_a), jnp.asarray(z_b))
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (z_a, z_b))
    assert out["alignment"] == pytest.approx(((a - b) ** 2).sum(1).mean(), rel=1e-5)
    uniformity, rank = [], []
    for z in (a, b):
        pairs = [(z[i] - z[j]) for i in range(12) for j in range(12) if i != j]
        uniformity.append(np.log(np.mean([np.exp(-2 * p @ p) for p in pairs])))
        p = np.linalg.svd(z, compute_uv=False)
        p /= p.sum()
        rank.append(np.exp(-(p * np.log(p)).sum()))
    assert out["uniformity"] == pytest.approx(np.mean(uniformity), rel=1e-5)
    assert out["effective_rank"] == pytest.approx(np.mean(rank), rel=1e-5)


def test_the_mean_plan_is_sorted_by_class_so_that_classes_are_blocks():
    images = np.zeros((45, 1, 1, 1), np.uint8)
    images[:, 0, 0, 0] = LABELS
    order = np.random.default_rng(1).permutation(45)

    def transport(z_a, z_b, groups):
        assert groups is None
        plan, target = losses.transport("gca_ince", z_a, z_b, epsilon=0.1)
        return plan.matrix, target.matrix

    out = views.mean_plan(
        fake_embed, transport, images[order], LABELS[order], None, per_class=3, batches=4, seed=0
    )
    assert out["plan_labels"].tolist() == sorted(list(range(5)) * 3)
    assert out["plan"].sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(out["target"], np.eye(15) / 15, atol=1e-7)
    same = out["plan_labels"][:, None] == out["plan_labels"][None]
    assert out["plan"][same].sum() > 0.95
    np.testing.assert_allclose(out["plan"][same], 1 / 45, rtol=0.1)


def test_the_target_of_the_mean_plan_gets_the_groups_of_its_images():
    images = np.zeros((45, 1, 1, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(45)
    groups = np.arange(45) * 3

    def embed(key, images):
        return images[:, 0, 0], images[:, 0, 0]

    def transport(z_a, z_b, groups):
        return z_a - groups[:, None] / 3, groups[:, None]

    out = views.mean_plan(embed, transport, images, LABELS, groups, per_class=3, batches=4, seed=0)
    np.testing.assert_allclose(out["plan"], 0, atol=1e-5)
    assert np.ptp(out["target"]) > 0


def test_images_per_class_fill_the_batch_or_the_smallest_class():
    assert views.images_per_class(LABELS, 20) == 4
    assert views.images_per_class(LABELS, 1000) == 9
    assert views.images_per_class(LABELS, 2) == 1


PAIR = np.random.default_rng(3).normal(size=(2, 16, 5)).astype(np.float32)


def gradient(name, **hyper):
    def loss(z_a, z_b):
        return losses.METHODS[name](z_a, z_b, **hyper)[0]

    return np.concatenate(jax.jit(jax.grad(loss, argnums=(0, 1)))(*jnp.asarray(PAIR))).ravel()


@pytest.mark.parametrize(
    ("method", "layout"), [("gca_ince", "cross"), ("gca_uot", "joint"), ("iot", "joint")]
)
def test_the_cosine_to_ince_is_that_of_the_two_gradients_on_one_kernel(method, layout):
    hyper = {"epsilon": 0.1} if method == "iot" else {"epsilon": 0.1, "layout": layout}
    ours = gradient(method, **hyper)
    ince = gradient("ince", epsilon=0.1, layout=layout)
    expected = ours @ ince / np.linalg.norm(ours) / np.linalg.norm(ince)
    cosine = views.gradient_cosine_to_ince(method, hyper, *jnp.asarray(PAIR))
    assert cosine == pytest.approx(expected, abs=1e-5)
    assert cosine < 0.999


def test_simclr_is_ince_in_its_own_layout_and_byol_has_no_cosine():
    pair = jnp.asarray(PAIR)
    assert views.gradient_cosine_to_ince("simclr", {"epsilon": 0.2}, *pair) == pytest.approx(1)
    assert views.gradient_cosine_to_ince("byol", {}, *pair) is None
