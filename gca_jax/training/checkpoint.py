"""Checkpoints of a run, by Orbax: written atomically, in the background.

Each holds five items: `variables` (weights, batch statistics, the head of an online probe: all that
evaluation reads; the best weights, where validation pairs choose them), `optimizer` (the rest of
the state, then with the last weights), `progress` (step, times, memory of the hooks), `config` and
`identity` (of the data). A checkpoint that fails its checksums is skipped for the one before it.
"""

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint import args

from gca_jax.files import write_checksums
from gca_jax.training.state import TrainState, Variables
from gca_jax.workdir import RunFolder


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    step: int = 0  # number of updates, and the position in the data
    seconds: float = 0.0  # training time, without compilation
    compile_seconds: float = 0.0
    hooks: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # memory by name, JSON


def open_manager(
    folder: RunFolder, clean: bool = True, keep: int | None = None
) -> ocp.CheckpointManager:
    """Open a run's checkpoints as a context manager; it keeps the latest two.

    Args:
        folder: The run's folder.
        clean: Whether to remove half-written checkpoints of killed processes. Only a writer may: a
            reader would remove what another process is writing.
        keep: The checkpoints of every so many steps are kept too; None: no others.
    """
    standard, json = ocp.StandardCheckpointHandler, ocp.JsonCheckpointHandler
    # Orbax fails on a relative path, and only in its background thread.
    path = folder.path.absolute() / "checkpoints"
    # Called by one process, after all files are written and before the checkpoint gets its name.
    checksums = functools.partial(write_checksums, path)
    return ocp.CheckpointManager(
        path,
        item_handlers=dict(
            **dict(variables=standard(), optimizer=standard()),
            **dict(progress=json(), config=json(), identity=json()),
        ),
        options=ocp.CheckpointManagerOptions(
            max_to_keep=2,
            keep_period=keep,
            cleanup_tmp_directories=clean,
            async_options=ocp.AsyncOptions(post_finalization_callback=checksums),
        ),
    )


def save(
    manager: ocp.CheckpointManager,
    state: TrainState,
    progress: Progress,
    config: Mapping[str, object],
    identity: Mapping[str, object] | None = None,
) -> None:
    """Start writing a checkpoint, unless this step has one.

    `config` is the run's record, `identity` that of its data, if known. Orbax copies the state
    before it returns, so the next step may donate its buffers.
    """
    if manager.latest_step() == progress.step:
        return
    variables, rest = _split(state)
    known = {} if identity is None else {"identity": args.JsonSave(dict(identity))}
    items = args.Composite(
        variables=args.StandardSave(variables),
        optimizer=args.StandardSave(rest),
        progress=args.JsonSave(dataclasses.asdict(progress)),
        config=args.JsonSave(dict(config)),
        **known,
    )
    manager.save(progress.step, args=items)


def restore(
    manager: ocp.CheckpointManager, abstract: TrainState, sharding: jax.sharding.Sharding
) -> tuple[TrainState, Progress]:
    """Restore the latest checkpoint onto these devices, whichever devices wrote it."""
    variables, rest = _split(_place(abstract, sharding))
    arrays = {"variables": args.StandardRestore(variables), "optimizer": args.StandardRestore(rest)}
    items = args.Composite(**arrays, progress=args.JsonRestore())
    found = manager.restore(manager.latest_step(), args=items)
    fields = {**found["variables"], **found["optimizer"]}
    if abstract.best is not None:
        fields["best"] = found["variables"]["params"]
    return TrainState(**fields), Progress(**found["progress"])


def restore_variables(folder: RunFolder, at: int | None = None) -> tuple[Variables, int]:
    """Restore the variables of a checkpoint onto one device.

    Args:
        folder: The run's folder.
        at: Step of the checkpoint; None: the latest intact one.

    Returns:
        The variables, and the step of the checkpoint.

    Raises:
        FileNotFoundError: The folder has no checkpoint.
        ValueError: The checkpoint of step `at` is damaged or missing.
    """
    if at is not None and (at not in folder.saved or not folder.is_intact(at)):
        there = ", ".join(map(str, folder.saved)) or "none"
        raise ValueError(
            f"the checkpoint of step {at} is damaged, or is not there; {folder.path} has: {there}"
        )
    if folder.newest is None:
        raise FileNotFoundError(
            f"no checkpoint in {folder.path}: train first, with --mode=pretrain"
        )
    with open_manager(folder, clean=False) as manager:
        step = folder.newest if at is None else at
        shapes = manager.item_metadata(step)["variables"].tree
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        items = args.Composite(variables=args.StandardRestore(_place(shapes, device)))
        found = manager.restore(step, args=items)
    return found["variables"], step


def _split(state: TrainState) -> tuple[Variables, dict[str, PyTree]]:
    """Split what evaluation reads from the rest; drop None fields, which Orbax cannot save."""
    fields = {name: value for name, value in state._asdict().items() if value is not None}
    names = ("params", "batch_stats", "probe", "remembered")
    variables = {name: fields.pop(name) for name in names if name in fields}
    if state.best is not None:
        fields["params"], variables["params"] = variables["params"], fields.pop("best")
    return variables, fields


def kept(folder: RunFolder) -> Collection[str]:
    """Name what the newest checkpoint keeps for training alone: "params" beside the best ones."""
    with open_manager(folder, clean=False) as manager:
        return [*manager.item_metadata(folder.newest)["optimizer"].tree]


def _place(tree: PyTree, sharding: jax.sharding.Sharding) -> PyTree:
    """Describe arrays with a sharding; without one Orbax wants the devices that wrote them."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )
