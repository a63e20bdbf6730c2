"""Every method is ready to train; every key of a config changes the run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from gca_jax import losses, targets
from gca_jax.data.dataset import Dataset
from gca_jax.data.views import policies
from gca_jax.experiment import build
from gca_jax.training import state, step
from gca_jax.training.optimizer import make_optimizer

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("method", ["gca_uot", "byol"])
def test_a_step_has_scalars_and_the_state_of_its_method(tiny, method):
    training = step.trace(build(tiny(method, **{"train.online_probe": True})))
    state, metrics = training.lowered.out_info
    assert {leaf.shape for leaf in metrics.values()} == {()}
    assert metrics.keys() >= {"loss", "probe_loss", "probe_accuracy"}
    assert (state.target is None) == (method != "byol")
    assert training.total_steps == 6


def test_the_config_of_every_method_has_what_its_loss_takes(tiny):
    dataset = build(tiny()).data.dataset
    z = jax.ShapeDtypeStruct((60, 4), jnp.float32)
    for method in losses.METHODS:
        value, aux = jax.eval_shape(build(tiny(method), dataset=dataset).loss, z, z)
        assert {leaf.shape for leaf in (value, *aux.values())} == {()}, method


def test_configs_of_two_methods_share_nothing(digits):
    first, second = digits.get_config("ince"), digits.get_config("ince")
    first.loss.similarity_floor = 0.5
    assert second.loss.similarity_floor is None


WORDS = {
    "loss.layout": "cross",
    "loss.self_pairs": "max_cost",
    "loss.mass": "total",
    "loss.gradient": "implicit",
    "model.block": "bottleneck",
    "model.stem": "imagenet",
    "model.width": 8,
    "model.dtype": "bfloat16",
    "model.heads": 4,
    "model.patch": 2,
    "model.positions": "learned",
    "optimizer.name": "adam",
    "optimizer.warmup_epochs": 0.5,
    "optimizer.warmup_steps": 3,
    "optimizer.exclude_bias_and_norm": True,
    "train.steps": 5,
    "train.batch_size": 240,
    "train.encoder_chunk": 236,
    "train.batch_norm_groups": 2,
    "train.online_probe": True,
    "train.knn_every_epochs": 2,
    "train.keep_every_epochs": 2,
    "augment.blur_size": 3,
    "loss.domain": "log",
    "loss.block_size": 100,
    "loss.marginals": "uniform",
    "loss.precision": "bfloat16",
    "target.name": "classes",
}
TOGETHER = {"loss.gradient": {"loss.until": 1e-2}, "loss.until": {"loss.gradient": "implicit"}}
# Wrong alone, as other tests here and test_target.py show.
LEARNED = {"sharpness": 2.0, "floor": 0.1, "keep": 0.5, "warmup_steps": 5}
COMBINED = {"method", "model.encoder", "augment.policy", "model.initial"}
COMBINED |= {f"target.{key}" for key in targets.settings()}


def another(key, value):
    """A legal value that differs."""
    if key in WORDS:
        return WORDS[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return tuple(type(x)(x * 0.75) or 2 for x in value)
    if isinstance(value, int):
        return value + 1
    return 0.5 * value if value else 1e-3


def own_value(config, key, value):
    """What a key is worth: of a strength that is left to the policy, the policy's own value."""
    if key.startswith("augment.") and value is None:
        own = policies.strengths(policies.views(config.augment.policy)[0])
        return own.get(key.removeprefix("augment."), value)
    return value


def views(experiment):
    """What views are made with; that each strength changes them is shown in test_augment.py."""
    policy = experiment.data.policy
    both = [[(one.func, one.keywords) for one in view] for view in policy.distort.args[1]]
    return policy.mean, policy.std, policy.crop, both


def loss(experiment):
    """The program of the loss, of which the run's is made, with its target."""
    z, numbers = jnp.zeros((60, 4)), jnp.zeros(60, int)

    def program(a, b, info):
        return experiment.loss(a, b, **experiment.target.keywords(info, 0))

    info = dict.fromkeys(experiment.target.takes, numbers)
    return jax.jit(program).lower(z, z, info).as_text()


def seed(experiment):
    """What orders the images, and the key of weights and views."""
    return step._order(experiment, state.make_mesh()), jax.random.key_data(experiment.key).tolist()


def optimizer(experiment):
    """The program of an update and the learning rates, of which the run's are made."""
    made, rate = make_optimizer(10, 5, **experiment.config.optimizer)
    weights = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    lowered = jax.jit(made.update).lower(weights, made.init(weights), weights)
    return lowered.as_text(), [float(rate(k)) for k in (0, 9)]


def settings(experiment):
    """What the step and the loop read of the `train` group."""
    return dataclasses.astuple(experiment.train)


def network(experiment):
    """The program of the network, heads and all, and its weights."""
    made, shape = experiment.network, experiment.data.input_shape
    variables = state.init_variables.eval_shape(made, experiment.key, shape)
    views = (jax.ShapeDtypeStruct((2, *shape), jnp.float32),) * 2

    def program(variables, views):
        pair = made.embed(variables, views).pair
        return pair if made.predictor_hidden is None else made.embed(variables, pair, "predict")

    return jax.jit(program).lower(variables, views).as_text()


USED = {"augment": views, "loss": loss, "target": loss, "optimizer": optimizer}
USED |= {"model": network, "train": settings, "seed": seed}


def check_every_key(config, *groups, dataset=None):
    dataset = build(config).data.dataset if dataset is None else dataset  # read once
    experiment = build(config, dataset=dataset)
    base = {use: use(experiment) for use in {USED[group] for group in groups}}
    for key, value in flatten_dict(config.to_dict(), sep=".").items():
        if key in COMBINED or not key.startswith(groups):
            continue
        value = own_value(config, key, value)
        if key.startswith("augment.") and value is None:
            continue  # of another policy
        changed = config.copy_and_resolve_references().unlock()
        changed.update_from_flattened_dict({key: another(key, value), **TOGETHER.get(key, {})})
        use = USED[key.split(".")[0]]
        if use(build(changed, dataset=dataset)) == base[use]:
            pytest.fail(f"{key} changes nothing")


@pytest.mark.usefixtures("one_device")
def test_settings_of_training_reach_the_step(tiny):
    """The learning rate, the optimizer, and what the step is made with."""
    keys = {"optimizer.learning_rate": 0.5, "optimizer.final_learning_rate": 0.25}
    training = step.trace(
        build(tiny("simclr", **{"train.encoder_chunk": 118, "train.batch_norm_groups": 59, **keys}))
    )
    assert training.learning_rate(0) == 0.5
    assert 0.25 < training.learning_rate(training.total_steps - 1) < 0.5
    program = training.lowered.as_text()
    assert "4x118x8x8x1" in program
    assert "59x2x8x8x1" in program


@pytest.mark.usefixtures("one_device")
def test_runs_that_differ_in_their_seed_share_the_compiled_step(tiny):
    one, other = (step.trace(build(tiny("byol", seed=seed))) for seed in (0, 1))
    assert one.lowered.as_text() == other.lowered.as_text()
    assert one.key != other.key


def test_the_step_is_traced_before_anything_is_put_on_the_devices(tiny, monkeypatch):
    """So it can be compiled for devices that this machine has not got."""
    put = []
    monkeypatch.setattr(step, "_replicate_key", lambda key, mesh: put.append(mesh) or key)
    training = step.trace(build(tiny()))
    assert not put
    assert training.key.shape == ()
    assert put == [training.mesh]


@pytest.mark.usefixtures("one_device")
def test_every_key_of_the_digits_config_changes_the_run(tiny):
    groups = ("seed", "augment", "target", "model", "optimizer", "train", "loss")
    check_every_key(tiny("gca_uot"), *groups)


@pytest.mark.usefixtures("one_device")
def test_keys_of_another_encoder_change_the_run(tiny):
    check_every_key(tiny("ince,vit"), "model")


def test_keys_of_targets_change_the_loss(tiny):
    dataset = build(tiny()).data.dataset
    dataset = dataclasses.replace(dataset, pretrain_domains=dataset.pretrain_labels)

    def program(name, **keys):
        target = {f"target.{key}": value for key, value in {"name": name, **keys}.items()}
        return loss(build(tiny("gca_ince", **target), dataset=dataset))

    base = program("self_weighted")
    for key, value in LEARNED.items():
        assert program("self_weighted", **{key: value}) != base, key
    for name in ("smoothed", "bootstrapped", "evidence"):
        assert program(name, share=0.1) != program(name, share=0.2)
    assert program("evidence") != program("evidence", warmup_steps=5)
    assert program("continuous", bandwidth=1.0) != program("continuous", bandwidth=2.0)
    base = program("blocks", alpha=0.5)
    assert program("blocks", alpha=0.25) != base != program("blocks", alpha=0.5, beta=0.1)
    late = program("bootstrapped", share=0.1, warmup_steps=5)
    assert late != program("bootstrapped", share=0.1)


@pytest.mark.usefixtures("one_device")
def test_keys_of_byol_change_the_run(tiny):
    check_every_key(tiny("byol"), "model", "train")


@pytest.mark.usefixtures("one_device")
def test_keys_of_another_policy_change_the_run(tiny):
    """Over images that a policy of photographs takes."""
    images = np.random.default_rng(0).integers(0, 256, (960, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(960, dtype=np.int32) % 10
    photographs = Dataset("photographs", images, labels, images[:1], labels[:1], 10)
    config = tiny("gca_ince", **{"train.batch_size": 480}).unlock()
    config.augment.update(policy="byol", mean=(0.5,) * 3, std=(0.5,) * 3)
    check_every_key(config, "augment", dataset=photographs)
