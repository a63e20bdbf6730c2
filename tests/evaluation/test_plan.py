import types
from unittest import mock

import jax
import numpy as np
import pytest

from gca_jax import losses
from gca_jax.data import arrays
from gca_jax.evaluation import plan
from gca_jax.evaluation.frozen import Frozen
from gca_jax.experiment import build
from gca_jax.training import state

LABELS = np.repeat(np.arange(5), 9).astype(np.int32)


def fake_embed(key, images):
    """A noisy embedding in which the first pixel is all that an image is."""
    x = jax.nn.one_hot(images[:, 0, 0, 0], 5)
    a, b = (jax.random.normal(k, x.shape) * 0.01 for k in jax.random.split(key))
    return x + a, x + b


def test_the_mean_plan_is_sorted_by_class_so_that_classes_are_blocks():
    images = np.zeros((45, 1, 1, 1), np.uint8)
    images[:, 0, 0, 0] = LABELS
    order = np.random.default_rng(1).permutation(45)

    def transport(z_a, z_b, info):
        assert info == {}
        found, target = losses.transport("gca_ince", z_a, z_b, epsilon=0.1)
        return found.matrix, target.matrix

    drawn = plan.Drawn("class", "test", images[order], LABELS[order], {}, per_kind=3, batches=4)
    out = plan.mean_plan(fake_embed, transport, drawn, seed=0)
    assert out["plan_labels"].tolist() == sorted(list(range(5)) * 3)
    assert out["plan"].sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(out["target"], np.eye(15) / 15, atol=1e-7)
    same = out["plan_labels"][:, None] == out["plan_labels"][None]
    assert out["plan"][same].sum() > 0.95
    np.testing.assert_allclose(out["plan"][same], 1 / 45, rtol=0.1)


def test_the_target_of_the_mean_plan_gets_what_is_known_of_its_images():
    images = np.zeros((45, 1, 1, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(45)
    info = {"domains": np.arange(45) * 3}

    def embed(key, images):
        return images[:, 0, 0], images[:, 0, 0]

    def transport(z_a, z_b, info):
        domains = info["domains"][:, None]
        return z_a - domains / 3, domains

    drawn = plan.Drawn("class", "test", images, LABELS, info, per_kind=3, batches=4)
    out = plan.mean_plan(embed, transport, drawn, seed=0)
    np.testing.assert_allclose(out["plan"], 0, atol=1e-5)
    assert np.ptp(out["target"]) > 0


@pytest.mark.parametrize("layout", ["cross", "joint"])
def test_within_class_counts_mass_between_different_images_of_one_class(layout):
    labels = np.array([0, 0, 1, 1, 1])
    views = {"cross": 1, "joint": 2}[layout]
    matrix = np.random.default_rng(0).uniform(size=(5 * views, 5 * views))
    mass = same = pairs = same_pairs = 0.0
    for i in range(5 * views):
        for j in range(5 * views):
            if i % 5 != j % 5:
                mass, pairs = mass + matrix[i, j], pairs + 1
                if labels[i % 5] == labels[j % 5]:
                    same, same_pairs = same + matrix[i, j], same_pairs + 1
    share, uniform = plan.within_class(matrix, labels)
    assert share == pytest.approx(same / mass)
    assert uniform == pytest.approx(same_pairs / pairs)
    assert plan.within_class(np.eye(5), labels)[0] is None


@pytest.mark.usefixtures("unchecked")
def test_what_stays_within_a_class_is_a_number_or_why_not(monkeypatch):
    matrix = np.kron(np.eye(2), np.ones((2, 2))) + 1  # 2/(2 + 1 + 1) of the mass off the diagonal
    arrays = {"plan": matrix, "plan_labels": np.array([0, 0, 1, 1]), "plan_rows": np.arange(4)}
    monkeypatch.setattr(plan, "mean_plan", lambda *positional: arrays)
    frozen = mock.Mock(
        Frozen,
        kinds=types.SimpleNamespace(word="class", numbers=None),
        no_plan="",
        embed=None,
        dataset=types.SimpleNamespace(test_images=None),
        info={},
        per_kind=2,
        experiment=types.SimpleNamespace(
            method="byol", network=None, seed=0, target=types.SimpleNamespace(takes=())
        ),
    )
    found = plan.evaluate(frozen)
    shares = {"share": 0.5, "share_of_uniform_plan": 1 / 3}
    assert found.numbers["plan_within_class"] == pytest.approx(shares)
    frozen.no_plan = "the loss was given in Python"
    skipped = plan.evaluate(frozen)
    assert (skipped.skipped, skipped.arrays) == ("the loss was given in Python", {})


@pytest.mark.parametrize("held_out", [False, True])
def test_of_a_target_by_domains_one_batch_is_drawn_sorted_by_domain(tiny, held_out):
    """Of training images where all test images are of one domain; blocks as the equation has it."""
    rng = np.random.default_rng(0)
    domains, classes = np.arange(240) % 3, np.arange(240) // 3 % 2
    images = rng.integers(0, 256, (240, 8, 8, 1), dtype=np.uint8)
    test = slice(0, None, 3) if held_out else slice(None)
    names = ["ink", "pen", "red"]
    data = arrays(
        images,
        classes,
        [names[d] for d in domains],
        test_images=images[test],
        test_labels=classes[test],
        test_domains=[names[d] for d in domains[test]],
    )
    keys = {"target.name": "blocks", "target.alpha": 0.25, "loss.layout": "cross"}
    experiment = build(tiny("gca_ince", **keys, **{"train.batch_size": 24}), dataset=data)
    variables = state.init_variables(experiment.network, experiment.key, (8, 8, 1))
    found = plan.evaluate(Frozen(experiment, variables))
    part = "training" if held_out else "test"
    assert found.numbers["plan_of"] == {"kind": "domain", "part": part}
    labels = found.arrays["plan_labels"]
    np.testing.assert_array_equal(labels, np.repeat([0, 1, 2], 40))
    blocks = 0.25 * (labels[:, None] == labels[None])
    np.fill_diagonal(blocks, 1)
    np.testing.assert_allclose(found.arrays["target"], blocks / blocks.sum(), rtol=1e-5)
    # Within a domain the classes are blocks too: half of the other images of a row.
    share = found.numbers["plan_within_class"]["share_of_uniform_plan"]
    assert share == pytest.approx(59 / 119, abs=0.01)
    assert set(found.arrays) == {"plan", "target", "plan_labels"}
