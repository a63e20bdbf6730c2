"""Exports a trained encoder as one file for other programs."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax import export
from safetensors.numpy import save

from gca_jax.evaluation.features import Encoder
from gca_jax.files import replace
from gca_jax.models import ResNet, formats

PLATFORMS = ("cpu", "cuda", "tpu")


def to_safetensors(encoder: Encoder) -> bytes:
    """Write the encoder without heads; a ResNet's weights have torchvision's names and layout.

    The metadata, each entry JSON, says what else is needed: shape and scaling of the images.
    """
    named, module = formats.by_name(encoder.network, encoder.variables), encoder.network.encoder
    about = {
        "names": "flax",
        "input_shape": encoder.shape,
        "method": encoder.config.method,
        "step": encoder.step,
    }
    if encoder.policy is not None:
        about |= {"mean": encoder.policy.mean, "std": encoder.policy.std}
    if isinstance(module, ResNet):
        settings = ("stage_sizes", "block", "width", "stem")
        about |= {"names": "torchvision", **{key: getattr(module, key) for key in settings}}
    metadata = {key: json.dumps(value) for key, value in about.items()}
    # It writes memory as it lies, also that of a transposed view.
    return save({name: np.ascontiguousarray(x) for name, x in named.items()}, metadata)


def to_msgpack(encoder: Encoder) -> bytes:
    """Write `params` and `batch_stats`, heads included, as Flax's msgpack."""
    return formats.to_msgpack(encoder.variables)


def to_jax(encoder: Encoder) -> bytes:
    """Write features(images) as StableHLO with its weights, for any number of images.

    `jax.export.deserialize(data).call(images)` takes uint8 images [b, h, w, c]; Flax and this
    package are not needed for it.

    Raises:
        ValueError: The encoder asks for the number of images.
    """
    (count,) = export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((count, *encoder.shape), np.uint8)
    try:
        exported = export.export(jax.jit(encoder.features), platforms=PLATFORMS)(images)
    except TypeError as error:
        raise ValueError(
            f"the encoder {type(encoder.network.encoder).__name__} cannot be exported for any "
            f"number of images ({error}): let it use x.shape[0] in place of len(x)"
        ) from error
    return bytes(exported.serialize())


FORMATS: dict[str, Callable[[Encoder], bytes]] = {
    ".safetensors": to_safetensors,
    ".msgpack": to_msgpack,
    ".jax": to_jax,
}
"""Formats by the ending of a file."""


def write(encoder: Encoder, out: Path) -> None:
    """Write or overwrite a file in the format of its ending."""
    data = FORMATS[out.suffix](encoder)
    replace(out, lambda file: file.write(data))
    print(f"{out}: {len(data) / 1e6:,.2f} MB")
