import types
from unittest import mock

import jax
import numpy as np
import pytest

from gca_jax import losses
from gca_jax.evaluation import plan
from gca_jax.evaluation.subject import Subject

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

    def transport(z_a, z_b, groups):
        assert groups is None
        found, target = losses.transport("gca_ince", z_a, z_b, epsilon=0.1)
        return found.matrix, target.matrix

    out = plan.mean_plan(
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

    out = plan.mean_plan(embed, transport, images, LABELS, groups, per_class=3, batches=4, seed=0)
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
def test_the_caption_says_whose_plan_it_is_and_what_stays_within_a_class(monkeypatch):
    matrix = np.kron(np.eye(2), np.ones((2, 2))) + 1  # 2/(2 + 1 + 1) of the mass off the diagonal
    arrays = {"plan": matrix, "plan_labels": np.array([0, 0, 1, 1])}
    monkeypatch.setattr(plan, "mean_plan", lambda *positional, **keywords: arrays)
    subject = mock.Mock(
        Subject,
        kinds=types.SimpleNamespace(word="class", numbers=None),
        no_plan="",
        embed=None,
        dataset=types.SimpleNamespace(test_images=None),
        groups=None,
        per_kind=2,
        experiment=types.SimpleNamespace(method="byol", network=None, seed=0),
    )
    found = plan.evaluate(subject)
    assert found.numbers["plan_within_class"]["share"] == pytest.approx(0.5)
    assert "50 % of its mass stays within a class; a uniform plan would keep\n33 %" in found.caption
    assert "online network stands in for the target" in found.caption
    subject.experiment.method = "ince"
    assert "online network" not in plan.evaluate(subject).caption
    subject.no_plan = "the loss was given in Python"
    left_out = plan.evaluate(subject)
    assert (left_out.left_out, left_out.arrays) == ("the loss was given in Python", {})
