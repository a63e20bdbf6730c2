"""What the pages on losses and on Python show runs as it stands, and its numbers are right."""

import importlib.util
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import losses, ot
from tests import reference
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

TEXT = (ROOT / "docs" / "losses.md").read_text()


def execute(text):
    """The names that the blocks of a page leave, run one after the other."""
    names = {}
    with jax.numpy_rank_promotion("allow"):  # as a user has it
        for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
            if not block.startswith("import torch\n") or importlib.util.find_spec("torch"):
                exec(block, names)
    return names


@pytest.fixture(scope="module")
def page():
    return execute(TEXT)


def test_the_first_lines_of_the_site():
    names = execute((ROOT / "docs" / "index.md").read_text())
    value, _ = losses.gca_ince(
        names["z_a"], names["z_b"], epsilon=0.2, target=np.asarray(names["target"].matrix)
    )
    np.testing.assert_allclose(names["value"], value, rtol=1e-5)


@pytest.fixture(scope="module")
def howto():
    return execute((ROOT / "docs" / "howto.md").read_text())


def test_one_loss_in_four_libraries_trains(howto):
    assert howto["values"][-1] < howto["values"][0]


def test_the_bridge_to_pytorch_passes_the_gradient(howto):
    torch = pytest.importorskip("torch")
    assert howto["torch_values"][-1] < howto["torch_values"][0]
    x_a, x_b = (np.array(howto[name]) for name in ("x_a", "x_b"))
    weight = torch.tensor(np.random.default_rng(0).normal(size=(10, 8)), dtype=torch.float32)
    weight.requires_grad_()
    views = [torch.from_numpy(x) @ weight for x in (x_a, x_b)]
    (3.0 * howto["Contrast"].apply(*views)).backward()
    want = jax.grad(howto["contrast"], has_aux=True)(jnp.asarray(weight.detach()), x_a, x_b)[0]
    np.testing.assert_allclose(weight.grad, 3.0 * want, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("loss", [losses.gca_ince, losses.byol])
def test_a_tensor_of_pytorch_is_an_array_unless_it_requires_a_gradient(loss):
    torch = pytest.importorskip("torch")
    z = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(loss(*torch.tensor(z))[0], loss(*z)[0], rtol=1e-6)
    half = loss(*torch.tensor(z, dtype=torch.bfloat16))[0]
    np.testing.assert_allclose(half, loss(*jnp.asarray(z, jnp.bfloat16))[0], rtol=1e-6)
    with pytest.raises(ValueError, match=r"z_a is a PyTorch tensor .*howto.md.*z_a.detach\(\)"):
        loss(*torch.tensor(z, requires_grad=True))


@pytest.mark.usefixtures("one_device")
def test_a_run_from_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = execute((ROOT / "docs" / "python.md").read_text())
    assert (
        names["report"]["dataset"]["train_images"] + names["report"]["dataset"]["test_images"]
        == 300
    )
    assert (tmp_path / "runs/mine/report.md").exists()


def test_the_table_names_every_scalar_of_every_method(page):
    section = TEXT.split("## What `aux` says")[1].split("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith(("| `", "| ●"))]
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    diagnosed = [partial(loss, diagnose=True) for loss in losses.METHODS.values()]
    shapes = [jax.eval_shape(loss, page["z_a"], page["z_b"]) for loss in diagnosed]
    assert told == set().union(*(aux for _, aux in shapes))


def test_a_queue_is_a_softmax_over_more_columns(page):
    a, b, queue = (np.asarray(page[name], float) for name in ("z_a", "z_b", "queue"))
    s = (1 - reference.cost_matrix(a, np.concatenate([b, queue]))) / 0.1
    expected = np.mean(np.log(np.exp(s).sum(1)) - s.diagonal())
    value, _ = losses.ince(page["z_a"], page["columns"], epsilon=0.1)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    plan, target = losses.transport(
        "gca_ince", page["z_a"], page["columns"], epsilon=0.1, marginals="uniform"
    )
    np.testing.assert_allclose(plan.matrix.sum(axis=0), 1 / 256, rtol=1e-5)
    assert not np.asarray(target.matrix)[:, 64:].any()


def test_targets_of_captions_and_of_labels_some_unknown(page):
    several = np.asarray(page["several"].matrix)
    same = np.arange(64)[:, None] == np.repeat(np.arange(64), 3)[None, :]
    np.testing.assert_allclose(several, same / same.sum(), rtol=1e-6)
    labels = np.asarray(page["labels"])
    same = (labels[:, None] == labels[None, :]) & (labels[:, None] >= 0) | np.eye(64, dtype=bool)
    np.testing.assert_allclose(page["supervised"].matrix, same / same.sum(), rtol=1e-6)
    both = np.tile(same, (2, 2)) & ~np.eye(128, dtype=bool)
    joint = page["supervised"].with_layout("joint").matrix
    np.testing.assert_allclose(joint, both / both.sum(), rtol=1e-6)
    other = ot.target.classes(jnp.array([-2, -1, -1]), jnp.array([-1, -2, -1])).matrix
    np.testing.assert_allclose(other, np.array([[0, 1, 0], [0, 0, 0], [0, 0, 1]]) / 2, rtol=1e-6)


def test_gradients_in_a_shard_map_are_those_of_one_device(page):
    step = jax.jit(jax.value_and_grad(page["contrast"]))
    value, gradient = step(page["weights"], page["z_a"], page["z_b"])
    for got in ((page["value"], page["gradient"]), page["unchecked"]):
        np.testing.assert_allclose(got[0], value, rtol=1e-5)
        np.testing.assert_allclose(got[1], gradient, rtol=1e-4, atol=1e-6)


def test_second_derivatives_of_the_log_domain(page):
    h, first = 1e-2, jax.jit(jax.grad(page["of_scale"]))
    difference = (first(1 + h) - first(1 - h)) / (2 * h)
    np.testing.assert_allclose(page["tangent"], first(1.0), rtol=1e-3)
    np.testing.assert_allclose(page["second"], difference, rtol=2e-2)
