"""Whole runs in a folder: resumed, interrupted, refused, repeated, broken off; their hooks."""

import io
import json
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import PIL.Image
import pytest

from gca_jax import config as configs
from gca_jax.data.dataset import Dataset, Streamed
from gca_jax.experiment import build
from gca_jax.signals import Stopped, handled
from gca_jax.training import log, state, step, train
from gca_jax.training.hooks import stop_on_signals
from gca_jax.training.log import Log
from gca_jax.workdir import RunFolder
from tests.runs import pretrain, restore_variables

pytestmark = pytest.mark.slow

TIMINGS = ("images_per_second",)


def rows(workdir, timings=False):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if timings or k not in TIMINGS} for line in lines
    ]


def weights(workdir):
    return restore_variables(workdir)[0]


def at_step(monkeypatch, step, action):
    """Do something when the loop has dispatched a step."""
    take = Log.__call__

    def patched(self, k, state, metrics):
        take(self, k, state, metrics)
        if k == step:
            action()

    monkeypatch.setattr(Log, "__call__", patched)


def test_what_a_run_leaves(unbroken, tiny):
    summary = json.loads((unbroken / "training.json").read_text())
    assert summary["finished"] is True
    assert summary["steps"] == 6
    assert summary["train_seconds"] > 0
    assert summary["images_per_second"] > 0
    assert (summary["input_shape"], summary["shorter_side"]) == ([8, 8, 1], 8)
    assert summary["device"].startswith("8 x cpu")
    variables, step = restore_variables(unbroken)
    assert step == 6
    record = json.loads((unbroken / "config.json").read_text())
    assert record == json.loads((unbroken / "checkpoints/6/config/metadata").read_text())
    assert configs.restore(record).to_json() == tiny().to_json()
    assert summary["parameters"] == sum(x.size for x in jax.tree.leaves(variables["params"]))
    assert all(len(x.devices()) == 1 for x in jax.tree.leaves(variables))
    assert list((unbroken / "tensorboard").glob("events*"))


def test_log_has_every_step_once(unbroken):
    logged = rows(unbroken, timings=True)
    assert [row["step"] for row in logged] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose([row["epoch"] for row in logged], np.arange(1, 7) / 3)
    # Half a cosine from 2e-3 over six steps: the rate that each update was made with.
    cosine = 2e-3 * (1 + np.cos(np.pi * np.arange(6) / 6)) / 2
    np.testing.assert_allclose([row["learning_rate"] for row in logged], cosine, rtol=1e-5)
    for row in logged:
        assert {"loss", "gradient_norm", "alignment", "uniformity", "images_per_second"} <= set(row)


def test_weights_do_not_depend_on_the_interval_of_the_log(unbroken, tiny, tmp_path):
    def hook(step, state, metrics):
        if step == 2:
            metrics["mine"] = jnp.float32(1.0)

    hook.name, hook.memory = "mine", {}
    pretrain(build(tiny(**{"train.log_every_steps": 4})), tmp_path, hooks=[hook])
    jax.tree.map(np.testing.assert_array_equal, weights(tmp_path), weights(unbroken))
    between, *logged = rows(tmp_path)
    assert [row["step"] for row in (between, *logged)] == [2, 4, 6]
    assert logged == [row for row in rows(unbroken) if row["step"] in (4, 6)]
    of_step_2 = rows(unbroken)[1]
    lacking = {"uniformity", "contrastive_accuracy", "plan_entropy", "relative_residual"}
    assert of_step_2.keys() - between.keys() >= lacking
    same = between | {"residual": of_step_2["residual"]}  # known from the sweeps up to rounding
    assert {**of_step_2, **same} == {**of_step_2, "mine": 1.0}


def test_run_starts_from_the_initial_variables(unbroken, experiment, tiny):
    config = tiny()
    network = build(config).network
    initial = state.init_variables(network, jax.random.key(config.seed), (8, 8, 1))["params"]
    training = step.trace(experiment)
    jax.tree.map(np.testing.assert_array_equal, training.initial().params, initial)
    params = weights(unbroken)["params"]
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), initial, params)
    assert all(jax.tree.leaves(moved))


def test_interrupted_and_resumed_run_equals_the_unbroken_one(
    unbroken, experiment, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        at_step(patch, 2, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(Stopped, match=f"step 2 of 6, saved in {tmp_path}.*same comm"):
            pretrain(experiment, tmp_path)
    assert json.loads((tmp_path / "training.json").read_text())["finished"] is False
    assert restore_variables(tmp_path)[1] == 2  # usable as it is
    assert len(rows(tmp_path)) == 2
    pretrain(experiment, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, weights(tmp_path), weights(unbroken))
    assert rows(tmp_path) == rows(unbroken)


def test_killed_run_goes_on_from_its_last_checkpoint(unbroken, experiment, tmp_path, monkeypatch):
    def die():
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        at_step(patch, 5, die)
        with pytest.raises(RuntimeError, match="killed"):
            pretrain(experiment, tmp_path)
    assert restore_variables(tmp_path)[1] == 3
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')  # a line cut off in the middle
    summary = pretrain(experiment, tmp_path)
    assert summary["finished"] is True
    jax.tree.map(np.testing.assert_array_equal, weights(tmp_path), weights(unbroken))
    assert rows(tmp_path) == rows(unbroken)


def test_the_loop_moves_nothing_but_batches_and_metrics(
    unbroken, experiment, tmp_path, monkeypatch
):
    """Batches go to the devices and metrics come back explicitly; nothing else moves."""
    entered = []

    class Guarded(Log):
        def __enter__(self):
            self.guard = jax.transfer_guard("disallow")
            self.guard.__enter__()
            entered.append(self)
            return self

        def __exit__(self, *error):
            self.guard.__exit__(*error)
            super().__exit__(*error)

    monkeypatch.setattr(train, "Log", Guarded)
    pretrain(experiment, tmp_path)
    assert len(entered) == 1
    assert rows(tmp_path) == rows(unbroken)


def test_finished_run_is_not_trained_again(unbroken, experiment, capsys):
    before = (unbroken / "metrics.jsonl").read_text()
    summary = pretrain(experiment, unbroken)
    assert "not trained again" in capsys.readouterr().out
    assert summary == json.loads((unbroken / "training.json").read_text())
    assert (unbroken / "metrics.jsonl").read_text() == before


@pytest.mark.usefixtures("one_device")
def test_a_finished_run_is_trained_further_as_if_it_had_been_longer(tiny, tmp_path, capsys):
    constant = {"optimizer.final_learning_rate": 2e-3}  # else the two schedules differ
    further = build(tiny(**constant))
    pretrain(build(tiny(**constant, **{"train.epochs": 1})), tmp_path / "further")
    second = RunFolder.open(tmp_path / "further", further.record)  # of another process
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as broken:  # killed before its first step
        broken.setattr(train, "_train", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pretrain(further, tmp_path / "further")
    assert pretrain(further, tmp_path / "further")["steps"] == 6
    assert capsys.readouterr().out.count("ended at step 3: it is trained further") == 1
    pretrain(further, tmp_path / "at once")
    assert rows(tmp_path / "further") == rows(tmp_path / "at once")
    for a, b in zip(
        *(jax.tree.leaves(weights(tmp_path / n)) for n in ("further", "at once")), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gca_jax.distributed.first", lambda: False)
        assert train.train(further, second)["steps"] == 6
    second.refuse_another(further.record)  # which evaluation asks for
    with pytest.raises(ValueError, match="holds a run of another config"):  # a shorter one
        pretrain(build(tiny(**constant, **{"train.epochs": 1})), tmp_path / "further")


def test_run_of_another_config_is_refused_and_left_alone(unbroken, tiny):
    before = {p: p.read_bytes() for p in unbroken.rglob("*") if p.is_file()}
    other = tiny(**{"loss.epsilon": 0.1, "seed": 3})
    with pytest.raises(ValueError, match="holds a run of another config") as caught:
        pretrain(build(other), unbroken)
    assert "loss.epsilon: 0.2 there, 0.1 here; seed: 0 there, 3 here" in str(caught.value)
    assert {p: p.read_bytes() for p in unbroken.rglob("*") if p.is_file()} == before


def test_two_runs_in_one_folder_are_refused(unbroken, experiment, tmp_path):
    other = RunFolder(tmp_path)
    with other.locked(), pytest.raises(ValueError, match="another process trains in"):
        pretrain(experiment, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"lock"}


@pytest.mark.parametrize("content", [None, "{"])
def test_a_lost_config_is_read_from_the_checkpoint_and_written_anew(
    unbroken, experiment, tmp_path, capsys, content
):
    """A finished run is left as it is; one that goes on gets its config.json back."""
    run = shutil.copytree(unbroken, tmp_path / "run")
    path = run / "config.json"
    before = path.read_text()
    path.unlink() if content is None else path.write_text(content)
    assert pretrain(experiment, run)["finished"]
    out = capsys.readouterr().out
    assert "run/config.json is missing or damaged; a checkpoint has it too" in out
    assert "not trained again" in out
    assert RunFolder(run).config == json.loads(before)
    shutil.rmtree(run / "checkpoints/6")
    assert pretrain(experiment, run)["finished"]
    assert path.read_text() == before


def test_loss_that_is_not_finite_stops_the_run_unsaved(experiment, tmp_path):
    def diverge(metrics):
        metrics["loss"] = jnp.float32(jnp.nan)

    says = r"^loss is nan at step 2 \(epoch 0\.67\); try a --config\.loss\.epsilon above 0\.2 or"
    with pytest.raises(ValueError, match=says) as caught:
        train_with(Watch(2, diverge), experiment, tmp_path)
    assert str(caught.value).endswith("or a lower --config.optimizer.learning_rate")
    # Nothing of value was there, so another config may have the folder.
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))


@pytest.mark.usefixtures("one_device")
def test_a_state_that_is_not_finite_is_not_saved(tiny, tmp_path, monkeypatch):
    """Loss and gradient of the step are finite; its update, on a step that is saved, is not."""
    make = step.make_optimizer

    def broken(*counts, **options):
        optimizer, rate = make(*counts, **options)
        last = optax.scale_by_schedule(lambda k: jnp.where(k == 5, jnp.inf, 1.0))
        return optax.chain(optimizer, last), rate

    with monkeypatch.context() as patch:
        patch.setattr(step, "make_optimizer", broken)
        with pytest.raises(
            ValueError, match=r"parameter_norm is (nan|inf) at step 6 .*keeps step 3"
        ):
            pretrain(build(tiny()), tmp_path)
    variables, kept = restore_variables(tmp_path)
    assert kept == 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


def test_missing_run_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no checkpoint in {tmp_path}"):
        restore_variables(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("one_device")
def test_byol_on_streamed_images_resumes_with_its_target_network(tiny, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    records = []
    for _ in range(50):
        buffer = io.BytesIO()
        PIL.Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(buffer, "png")
        records.append({"image": buffer.getvalue()})
    images, labels = Streamed(records, np.arange(50), size=8), np.arange(50, dtype=np.int32) % 5
    dataset = Dataset("streamed", images, labels, images, labels, 5)
    overrides = {"train.batch_size": 16, "augment.policy": "cifar", "model.predictor_hidden": 8}
    config = tiny("byol", **overrides).copy_and_resolve_references().unlock()
    config.augment.update(mean=(0.5,) * 3, std=(0.5,) * 3)
    experiment = build(config, dataset=dataset)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    pretrain(experiment, whole)
    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: signal.raise_signal(signal.SIGUSR1))
        with pytest.raises(Stopped) as stopped:
            pretrain(experiment, broken)
        assert stopped.value.status == 0
    pretrain(experiment, broken)
    assert "predictor" in weights(whole)["params"]
    assert rows(broken) == rows(whole)
    jax.tree.map(np.testing.assert_array_equal, weights(broken), weights(whole))


def test_progress_in_a_file_is_a_line_for_each_state(capsys):
    bar = log.progress_bar("digits", 3, 0)
    bar.update(3)
    bar.refresh()
    bar.close()
    err = capsys.readouterr().err
    assert "\r" not in err
    assert all(line.startswith("digits") for line in err.splitlines())
    assert "step 3/3" in err.splitlines()[-1]


def test_a_signal_while_the_step_is_compiled_is_not_kept_waiting(
    unbroken, experiment, tmp_path, monkeypatch
):
    """Compiling may take minutes, and until then there is nothing to be saved."""
    before, seen, compiled = signal.getsignal(signal.SIGTERM), [], jax.stages.Lowered.compile

    def watched(self):
        seen.append(signal.getsignal(signal.SIGTERM))
        return compiled(self)

    monkeypatch.setattr(jax.stages.Lowered, "compile", watched)
    at_step(monkeypatch, 1, lambda: seen.append(signal.getsignal(signal.SIGTERM)))
    pretrain(experiment, tmp_path)
    assert seen[0] == before
    assert seen[-1] != before
    assert signal.getsignal(signal.SIGTERM) == before


SCHEDULERS = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_s_signal_stops_a_run_after_the_step(name):
    number = getattr(signal, name)
    with handled({number: signal.SIG_DFL}), stop_on_signals() as stop:  # nohup or not, here
        signal.raise_signal(number)
        assert (stop.number, stop.status) == (number, 0)
        if name == "SIGTERM":
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        else:  # those that come in advance come twice, and SIGTERM follows: saving goes on
            signal.raise_signal(number)
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("name", SCHEDULERS[1:])
def test_of_several_processes_each_is_told_by_sigterm(name, monkeypatch):
    """Which JAX passes on to all of them."""
    told = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    kept = {signal.SIGTERM: lambda number, frame: told.append(number)}
    with handled({getattr(signal, name): signal.SIG_DFL, **kept}):
        with stop_on_signals() as stop:
            signal.raise_signal(getattr(signal, name))
            assert stop.number == getattr(signal, name)
        assert told == [signal.SIGTERM]


def test_nohup_is_followed():
    with handled({signal.SIGHUP: signal.SIG_IGN}), stop_on_signals() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop.number == 0


class Watch:
    """A hook that remembers the steps it sees, and at one of them does something else."""

    name = "watch"

    def __init__(self, at=None, action=lambda metrics: None):
        self.memory, self.at, self.action = {"steps": []}, at, action

    def __call__(self, step, state, metrics):
        self.memory["steps"].append(step)
        return self.action(metrics) if step == self.at else None


def train_with(hook, experiment, path):
    return train.train(experiment, RunFolder.open(path, experiment.record), [hook])


def test_a_hook_may_stop_a_run_and_is_given_back_what_it_remembers(unbroken, experiment, tmp_path):
    with pytest.raises(Stopped, match=r"^stopped at step 2 of 6, saved in .*same comm") as caught:
        train_with(Watch(2, lambda metrics: train.STOP), experiment, tmp_path)
    assert caught.value.status == 0  # as nothing went wrong
    saved = json.loads((tmp_path / "checkpoints/2/progress/metadata").read_text())
    assert saved["hooks"]["watch"] == {"steps": [1, 2]}
    hook = Watch()
    assert train_with(hook, experiment, tmp_path)["finished"]
    assert hook.memory == {"steps": [1, 2, 3, 4, 5, 6]}
    jax.tree.map(np.testing.assert_array_equal, weights(tmp_path), weights(unbroken))
    assert rows(tmp_path) == rows(unbroken)


def test_a_hook_forgets_what_came_after_the_last_checkpoint(experiment, tmp_path):
    """Else it would have seen the steps twice that a killed run makes again."""
    with pytest.raises(ZeroDivisionError):
        train_with(Watch(5, lambda metrics: 1 / 0), experiment, tmp_path)
    hook = Watch()
    train_with(hook, experiment, tmp_path)
    assert hook.memory == {"steps": [1, 2, 3, 4, 5, 6]}
    pretrain(experiment, tmp_path)  # without the hook, which a finished run does not need


def test_a_hook_may_change_the_state_and_add_to_the_log(tiny, tmp_path):
    """One that undoes every step: each moves the weights, and the last saves those of the start.

    Log and checkpoints are written as often as the config says, and at the end.
    """
    rarely = {"train.log_every_steps": 4, "train.checkpoint_every_epochs": 5}
    experiment = build(tiny(**rarely))
    drawn = jax.device_get(step.trace(experiment).initial())
    seen = []

    class Undo:
        name, memory = "undo", {}

        def __call__(self, step, state, metrics):
            params = jax.device_get(state.params)
            moved = jax.tree.map(lambda a, b: np.any(a != b), drawn.params, params)
            seen.append(any(jax.tree.leaves(moved)))
            if step == 2:
                metrics["mine"] = jax.numpy.float32(0.25)
            kept = jax.tree.map(lambda a, b: jax.device_put(a, b.sharding), drawn, state)
            return kept._replace(step=state.step)

    train_with(Undo(), experiment, tmp_path)
    assert seen == [True] * 6
    jax.tree.map(np.testing.assert_array_equal, weights(tmp_path)["params"], drawn.params)
    assert [(row["step"], row.get("mine")) for row in rows(tmp_path)] == [
        (2, 0.25),
        (4, None),
        (6, None),
    ]
    assert [path.name for path in (tmp_path / "checkpoints").glob("[0-9]*")] == ["6"]


def test_a_setting_without_its_hook_is_refused_before_anything_is_written(tiny, tmp_path):
    experiment = build(tiny(**{"train.knn_every_epochs": 1}))
    folder = RunFolder.open(tmp_path / "run", experiment.record)
    says = r"^config\.train: knn_every_epochs is a hook's: train\(.*evaluation\.online\.hooks\("
    for hooks in ((), [Watch()]):
        with pytest.raises(ValueError, match=says) as caught:
            train.train(experiment, folder, hooks)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["log", "saver", "watch"])
def test_hooks_have_names_of_their_own(experiment, tmp_path, name):
    """Under which they are remembered."""
    hooks = [Watch(), Watch()]
    hooks[1].name = name
    folder = RunFolder.open(tmp_path / "run", experiment.record)
    with pytest.raises(ValueError, match=rf"^hooks must have names .*, got watch, {name}$"):
        train.train(experiment, folder, hooks)
    assert not (tmp_path / "run").exists()
