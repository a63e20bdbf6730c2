"""Initial weights: drawn from the seed; an encoder's may come from a checkpoint or a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from gca_jax.experiment import Experiment, context
from gca_jax.models import Network, Towers, formats
from gca_jax.models.closed_form import Maps
from gca_jax.training import checkpoint, state
from gca_jax.workdir import RunFolder


def draw(
    experiment: Experiment, given: Mapping[str, Any] | None = None, maps: Maps | None = None
) -> state.Variables:
    """Draw the initial variables; those of the encoder come from `model.initial`, if it is set.

    Args:
        experiment: The run's experiment.
        given: What `encoder` returned; None: it is read now.
        maps: Of `start.prepare`, which replace linear towers, and linear parts of residual ones.
    """
    drawn = state.init_variables(experiment.network, experiment.key, experiment.data.input_shape)
    if isinstance(experiment.network, Towers):
        return drawn if maps is None else _with_maps(drawn, maps)
    given = (encoder(experiment) or {}) if given is None else given
    return {
        kind: {**tree, "encoder": given[kind]} if given.get(kind) else tree
        for kind, tree in drawn.items()
    }


def _with_maps(drawn: state.Variables, maps: Maps) -> state.Variables:
    """Replace the linear parts of two towers."""
    params = dict(drawn["params"])
    for side, mean, kernel in (("a", maps.mean_x, maps.x), ("b", maps.mean_y, maps.y)):
        like = params[side]["out"]["kernel"]
        filled = np.zeros(like.shape)
        width = min(kernel.shape[1], like.shape[1])
        filled[:, :width] = kernel[:, :width]
        out = {"kernel": filled, "bias": -mean @ filled}
        linear = {key: jnp.asarray(x, like.dtype) for key, x in out.items()}
        params[side] = {**params[side], "out": linear}
    return {**drawn, "params": params}


def encoder(experiment: Experiment) -> dict[str, Any] | None:
    """Read the encoder's variables from `config.model.initial`; None where it is not set.

    Raises:
        FileNotFoundError: There is no such file or run.
        ValueError: It cannot be read, or is another encoder; the message names the first
            differing entry.
    """
    network = experiment.network
    source = experiment.config.model.get("initial")  # towers have no such setting
    if source is None or not isinstance(network, Network):
        return None
    shapes = state.init_variables.eval_shape(network, experiment.key, experiment.data.input_shape)
    path = Path(source).expanduser()
    with context(f"config.model.initial={source}"):
        named, translated = read(path)
        return formats.encoder_from(network, shapes, named, translated)


def read(path: Path) -> tuple[dict[str, np.ndarray], bool]:
    """Read an encoder's arrays by name, and tell whether the names are torchvision's."""
    if path.is_dir():
        return formats.flax_names(_of_run(path)), False
    if not path.exists():
        raise FileNotFoundError(f"config.model.initial: there is no file and no folder {path}")
    if path.suffix == ".msgpack":
        return formats.flax_names(formats.from_msgpack(path.read_bytes())), False
    if path.suffix != ".safetensors":
        raise ValueError("it must be the folder of a run or a file .safetensors or .msgpack")
    try:
        return safetensors.numpy.load_file(path), True
    except (safetensors.SafetensorError, TypeError) as error:
        raise ValueError(f"it cannot be read ({error})") from error


def _of_run(path: Path) -> state.Variables:
    """Restore the newest checkpoint of a run, or that of a path RUN/checkpoints/STEP."""
    if path.parent.name == "checkpoints" and path.name.isdigit():
        return checkpoint.restore_variables(RunFolder(path.parent.parent), int(path.name))[0]
    folder = RunFolder(path)
    if not folder.saved:
        raise ValueError("the folder has no run with a checkpoint")
    return checkpoint.restore_variables(folder)[0]
