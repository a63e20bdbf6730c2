"""Checkpoints of a run, by Orbax: written atomically, in the background.

Each holds four items: `variables` (weights, batch statistics, the head of an online probe: all that
evaluation reads),
`optimizer` (the rest of the state), `progress` (step and clock) and `config`. One whose files are
no longer as they were written is passed over for the one before it.
"""

import contextlib
import dataclasses
import functools
import pathlib
import shutil
from collections.abc import Iterator

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from ml_collections import ConfigDict
from orbax.checkpoint import args

from gca_jax.training.step import TrainState, Variables
from gca_jax.workdir import checkpoints, fault_of, read_json, write_checksums, write_json


@dataclasses.dataclass(frozen=True)
class Progress:
    """How many updates were made (the position in the data too), and how long they took."""

    step: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0


def open_manager(workdir: str | pathlib.Path, clean: bool = True) -> ocp.CheckpointManager:
    """Open `workdir/checkpoints`, which keeps the latest two; use it as a context manager.

    `clean` removes what a killed process left half written.
    """
    standard, json = ocp.StandardCheckpointHandler, ocp.JsonCheckpointHandler
    # Orbax fails on a relative path, and only in its background thread.
    folder = pathlib.Path(workdir).absolute() / "checkpoints"
    # Called by one process, when all files are written and the checkpoint has no name yet.
    written = ocp.AsyncOptions(
        post_finalization_callback=functools.partial(write_checksums, folder)
    )
    return ocp.CheckpointManager(
        folder,
        item_handlers=dict(
            variables=standard(), optimizer=standard(), progress=json(), config=json()
        ),
        options=ocp.CheckpointManagerOptions(
            max_to_keep=2, cleanup_tmp_directories=clean, async_options=written
        ),
    )


def newest(workdir: str | pathlib.Path) -> int | None:
    """Find the step of a run's newest checkpoint that is intact; say once which are not."""
    for step, folder in sorted(checkpoints(workdir).items(), reverse=True):
        fault = fault_of(folder)
        if fault is None:
            return step
        _say(f"note: {folder} is damaged ({fault}): it is passed over")
    return None


_say = functools.cache(print)


def set_damaged_aside(workdir: pathlib.Path) -> None:
    """Rename checkpoints newer than the newest intact one, to make room for their steps."""
    intact = newest(workdir)
    for step, folder in checkpoints(workdir).items():
        if intact is None or step > intact:
            aside = folder.with_name(f"damaged-{step}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)


def save(
    manager: ocp.CheckpointManager, state: TrainState, progress: Progress, config: dict[str, object]
) -> None:
    """Start to write a checkpoint, unless there is one of this step; `config` is the run's record.

    The state may be donated to the next step at once.
    """
    if manager.latest_step() == progress.step:
        return
    variables, rest = _split(state)
    items = args.Composite(
        variables=args.StandardSave(variables),
        optimizer=args.StandardSave(rest),
        progress=args.JsonSave(dataclasses.asdict(progress)),
        config=args.JsonSave(config),
    )
    manager.save(progress.step, args=items)


def restore(
    manager: ocp.CheckpointManager, abstract: TrainState, sharding: jax.sharding.Sharding
) -> tuple[TrainState, Progress]:
    """Read the latest checkpoint into a state of the same shapes, whatever devices wrote it."""
    variables, rest = _split(_place(abstract, sharding))
    arrays = {"variables": args.StandardRestore(variables), "optimizer": args.StandardRestore(rest)}
    items = args.Composite(**arrays, progress=args.JsonRestore())
    found = manager.restore(manager.latest_step(), args=items)
    state = TrainState(**found["optimizer"], **found["variables"])
    return state, Progress(**found["progress"])


def restore_config(workdir: str | pathlib.Path) -> ConfigDict:
    """Read the config of a run from its latest checkpoint.

    Raises:
        FileNotFoundError: there is no checkpoint in `workdir`.
    """
    with _open_latest(workdir) as (manager, step):
        found = manager.restore(step, args=args.Composite(config=args.JsonRestore()))
    return ConfigDict(found["config"]).lock()


def repair_config(workdir: pathlib.Path) -> None:
    """Write config.json anew from the latest checkpoint where it is damaged or missing."""
    path = workdir / "config.json"
    if not checkpoints(workdir):
        return
    with contextlib.suppress(OSError, ValueError):
        read_json(path)
        return
    write_json(path, restore_config(workdir).to_dict())
    print(f"note: {path} was missing or damaged; it is written anew from the latest checkpoint")


def restore_variables(workdir: str | pathlib.Path, at: int | None = None) -> tuple[Variables, int]:
    """Read the network of a run's checkpoint onto one device, and the step it is from.

    Args:
        workdir: Folder of the run.
        at: Which step's; None: the latest that is intact.

    Raises:
        FileNotFoundError: there is no checkpoint in `workdir`.
        ValueError: that of the step is damaged.
    """
    if at is not None and (fault := fault_of(checkpoints(workdir)[at])) is not None:
        raise ValueError(f"the checkpoint is damaged ({fault})")
    with _open_latest(workdir) as (manager, latest):
        step = latest if at is None else at
        shapes = manager.item_metadata(step)["variables"].tree
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        items = args.Composite(variables=args.StandardRestore(_place(shapes, device)))
        found = manager.restore(step, args=items)
    return found["variables"], step


@contextlib.contextmanager
def _open_latest(workdir: str | pathlib.Path) -> Iterator[tuple[ocp.CheckpointManager, int]]:
    """Open a run's checkpoints to read, and find the latest step that is intact."""
    step = newest(workdir)
    if step is None:
        raise FileNotFoundError(f"no checkpoint in {workdir}: train first, with --mode=pretrain")
    with open_manager(workdir, clean=False) as manager:
        yield manager, step


def _split(state: TrainState) -> tuple[Variables, dict[str, PyTree]]:
    """Part what evaluation reads from the rest, without a missing target: Orbax takes no None."""
    fields = {name: value for name, value in state._asdict().items() if value is not None}
    names = ("params", "batch_stats", "probe")
    variables = {name: fields.pop(name) for name in names if name in fields}
    return variables, fields


def _place(tree: PyTree, sharding: jax.sharding.Sharding) -> PyTree:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )
